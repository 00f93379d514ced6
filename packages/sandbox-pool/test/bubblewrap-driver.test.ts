import { describeSandboxDriver } from '../src/testing.ts';
import { bubblewrapHost } from './bubblewrap-host.ts';

describeSandboxDriver('bubblewrap', bubblewrapHost);
