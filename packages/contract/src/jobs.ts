/** BullMQ payloads: ids only, never content (DESIGN 3.2, I7). Parsed at receipt. */
import { z } from 'zod';

/** "Session S has work." Deduplicated by session: at most one active and one pending. */
export const TurnJob = z.object({ session_id: z.string(), workspace_id: z.string() });
export type TurnJob = z.infer<typeof TurnJob>;

/** "Session S will probably want a sandbox": sent at session create, a best effort. */
export const HintJob = z.object({ session_id: z.string(), workspace_id: z.string() });
export type HintJob = z.infer<typeof HintJob>;
