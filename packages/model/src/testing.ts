/** For tests: scripts for the model double, and its journal. */
export type { Fault } from './double/answer.ts';
export type { JournalEntry } from './double/journal.ts';
export { type ModelDouble, type ModelDoubleOptions, startModelDouble } from './double/model-double.ts';
export { type DoubleBlock, type DoubleScript, type DoubleStep, doubleScript } from './double/script.ts';
