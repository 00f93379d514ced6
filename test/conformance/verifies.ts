/** Scenarios: a promise of requirements.ts, and the code that proves it on a private stack. */
import { afterAll, afterEach, beforeAll, test } from 'vitest';
import { REQUIREMENTS, type RequirementId } from './requirements.ts';
import { type Stack, type StackOptions, startStack } from './stack.ts';

const START_MS = 90_000;
const STOP_MS = 60_000;

/** One test that proves one or several promises; it is named by them. */
export function verifies(ids: RequirementId | readonly RequirementId[], run: () => Promise<void>, timeoutMs?: number): void {
  const list = [ids].flat() as RequirementId[];
  const name = list.map((id) => `${id}: ${REQUIREMENTS[id].promise}`).join('; ');
  test(name, run, timeoutMs);
}

/** The stack of a test file: there before its first test, gone after its last. What its processes wrote is shown for failed tests. */
export function useStack(options: StackOptions): () => Stack {
  let stack: Stack | null = null;
  beforeAll(async () => {
    stack = await startStack(options);
  }, START_MS);
  afterEach(({ task }) => {
    if (stack && task.result?.state === 'fail') process.stderr.write(`\n${task.name} failed. The processes wrote:\n${stack.logs()}`);
  });
  afterAll(async () => {
    await stack?.[Symbol.asyncDispose]();
  }, STOP_MS);
  return () => {
    if (!stack) throw new Error('the stack is there in tests only');
    return stack;
  };
}
