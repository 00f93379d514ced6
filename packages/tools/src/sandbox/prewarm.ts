/** The prewarm of DESIGN 3.4: a pool may reserve a warm sandbox for a session. Nothing depends on it. Its subject is `sandbox.hint`, a format. */
import { hasCode, type Messaging, pause } from '@manyhands/base';
import { PrewarmReply, type PrewarmRequest, SANDBOX_SUBJECT } from '@manyhands/contract';

const PREWARM_TIMEOUT_MS = 1_000;

/** The pool that took the prewarm, or null when none answered in time. Never rejects. */
export async function sendPrewarm(messaging: Pick<Messaging, 'request'>, prewarm: PrewarmRequest): Promise<string | null> {
  const answer = await askPrewarm(messaging, prewarm);
  return answer === 'none' || answer === 'silent' ? null : answer.poolId;
}

/** `none`: no pool has room. `silent`: one was asked that does not answer, such as one whose host was just cut off; another may. */
export async function askPrewarm(
  messaging: Pick<Messaging, 'request'>,
  prewarm: PrewarmRequest,
): Promise<{ poolId: string } | 'none' | 'silent'> {
  try {
    return { poolId: (await messaging.request(SANDBOX_SUBJECT.prewarm, prewarm, PrewarmReply, PREWARM_TIMEOUT_MS)).pool_id };
  } catch (error) {
    return hasCode(error, 'timeout') ? 'silent' : 'none';
  }
}

/** What a caller's prewarm came to, waiting no longer than a prewarm of our own would take. */
export async function settledPrewarm(prewarmed: Promise<string | null> | undefined): Promise<string | null> {
  if (!prewarmed) return null;
  const over = new AbortController();
  try {
    return await Promise.race([prewarmed, pause(PREWARM_TIMEOUT_MS, over.signal).then(() => null)]);
  } catch {
    return null;
  } finally {
    over.abort();
  }
}
