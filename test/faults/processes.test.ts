import { survivesKills } from './process-faults.ts';

survivesKills('bubblewrap');
