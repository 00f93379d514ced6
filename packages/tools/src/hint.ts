/** The hint of DESIGN 3.4: a pool may keep a warm sandbox ready for a session. Nothing depends on it. */
import { hasCode, type Messaging, pause } from '@manyhands/base';
import { HintReply, type HintRequest, SANDBOX_SUBJECT } from '@manyhands/contract';

const HINT_TIMEOUT_MS = 1_000;

/** The pool that took the hint, or null when none answered in time. Never rejects. */
export async function sendHint(messaging: Pick<Messaging, 'request'>, hint: HintRequest): Promise<string | null> {
  const answer = await askHint(messaging, hint);
  return answer === 'none' || answer === 'silent' ? null : answer.poolId;
}

/** `none`: no pool has room. `silent`: one was asked that does not answer, such as one whose host was just cut off; another may. */
export async function askHint(messaging: Pick<Messaging, 'request'>, hint: HintRequest): Promise<{ poolId: string } | 'none' | 'silent'> {
  try {
    return { poolId: (await messaging.request(SANDBOX_SUBJECT.hint, hint, HintReply, HINT_TIMEOUT_MS)).pool_id };
  } catch (error) {
    return hasCode(error, 'timeout') ? 'silent' : 'none';
  }
}

/** What a caller's hint came to, waiting no longer than a hint of our own would take. */
export async function settledHint(hinted: Promise<string | null> | undefined): Promise<string | null> {
  if (!hinted) return null;
  const over = new AbortController();
  try {
    return await Promise.race([hinted, pause(HINT_TIMEOUT_MS, over.signal).then(() => null)]);
  } catch {
    return null;
  } finally {
    over.abort();
  }
}
