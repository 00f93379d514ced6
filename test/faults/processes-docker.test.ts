import { privateEngineUnavailable } from '@manyhands/test-kit';
import { describe } from 'vitest';
import { survivesKills } from './process-faults.ts';

const why = privateEngineUnavailable();
describe.skipIf(why !== null)(`with Docker and an engine that up brings${why === null ? '' : ` (${why})`}`, () => survivesKills('docker'));
