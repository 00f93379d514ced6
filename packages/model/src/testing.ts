/** For tests: scripts for the fake model, and its journal. */
export type { Fault } from './fake/answer.ts';
export { type FakeModel, type FakeModelOptions, startFakeModel } from './fake/fake-model.ts';
export type { JournalEntry } from './fake/journal.ts';
export { type FakeBlock, type FakeScript, type FakeStep, fakeScript } from './fake/script.ts';
