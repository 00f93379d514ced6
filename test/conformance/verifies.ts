/** Scenarios: a promise of requirements.ts, and the code that proves it on a private stack. Whatever the stack answers is checked, too. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { prepareToWatch, type Seen, takeSeen } from './observe.ts';
import { REQUIREMENTS, type RequirementId } from './requirements.ts';
import { type Stack, type StackOptions, startStack } from './stack.ts';

declare module 'vitest' {
  interface TaskMeta {
    /** Read from vitest's report (report/results.ts). */
    conformance?: { promises: readonly RequirementId[]; seen: Seen };
  }
}

const START_MS = 90_000;
const STOP_MS = 60_000;

/** One test that proves one or several promises; it is named by them. */
export function verifies(ids: RequirementId | readonly RequirementId[], run: () => Promise<void>, timeoutMs?: number): void {
  const list = [ids].flat() as RequirementId[];
  const name = list.map((id) => `${id}: ${REQUIREMENTS[id].promise}`).join('; ');
  test(
    name,
    async ({ task }) => {
      task.meta.conformance = { promises: list, seen: { answers: [], kinds: [], owned: [] } };
      await run();
    },
    timeoutMs,
  );
}

/** The stack of a test file: there before its first test, gone after its last. What its processes wrote is shown for failed tests. */
export function useStack(options: StackOptions): () => Stack {
  let stack: Stack | null = null;
  beforeAll(async () => {
    await prepareToWatch();
    stack = await startStack(options);
  }, START_MS);
  afterEach(({ task }) => {
    const { seen, problems } = takeSeen();
    if (task.meta.conformance) task.meta.conformance = { ...task.meta.conformance, seen };
    if (stack && task.result?.state === 'fail') process.stderr.write(`\n${task.name} failed. The processes wrote:\n${stack.logs()}`);
    expect(problems, 'what was answered is not what the SDK declares').toEqual([]);
  });
  afterAll(async () => {
    await stack?.[Symbol.asyncDispose]();
  }, STOP_MS);
  return () => {
    if (!stack) throw new Error('the stack is there in tests only');
    return stack;
  };
}
