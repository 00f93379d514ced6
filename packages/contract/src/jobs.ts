/** BullMQ payloads: ids only, never content (DESIGN 3.2, I7). Parsed at receipt. */
import { z } from 'zod';

/** "Session S has work." Deduplicated by session: at most one active and one pending. */
export const TurnJob = z.object({ session_id: z.string(), workspace_id: z.string() });
export type TurnJob = z.infer<typeof TurnJob>;

/** "Session S will probably want a sandbox": sent at session create, a best effort. */
export const HintJob = z.object({ session_id: z.string(), workspace_id: z.string() });
export type HintJob = z.infer<typeof HintJob>;

/** "This sandbox is not needed any more": its session was deleted or archived. With `delete_blobs` what the sandbox left behind goes too. */
export const ReleaseJob = z.object({
  session_id: z.string(),
  workspace_id: z.string(),
  pool_id: z.string(),
  sandbox_id: z.string(),
  generation: z.int(),
  delete_blobs: z.boolean(),
});
export type ReleaseJob = z.infer<typeof ReleaseJob>;
