/**
 * BullMQ payloads: ids only, never content (DESIGN 3.2, I7). Parsed at receipt. `format` is 2 from this version on; what 0.1.0 left in a queue
 * has none and is read as it is.
 */
import { z } from 'zod';
import { primaryThreadId } from '../ids.ts';

export const JOB_FORMAT = 2;
const format = z.int().max(JOB_FORMAT, `this job is of a newer version than this one, which knows format ${JOB_FORMAT}`).default(1);
/** The W3C trace context of what the job is done for. */
const traceparent = z.string().optional();

/** "Thread T of session S has work." Deduplicated by thread: at most one active and one pending. A job of 0.1.0 means the primary thread. */
export const TurnJob = z
  .object({ format, session_id: z.string(), workspace_id: z.string(), thread_id: z.string().optional(), traceparent })
  .transform((job) => ({ ...job, thread_id: job.thread_id ?? primaryThreadId(job.session_id) }));
export type TurnJob = z.infer<typeof TurnJob>;

/** "Session S will probably want a sandbox": sent at session create, a best effort. */
export const PrewarmJob = z.object({ format, session_id: z.string(), workspace_id: z.string(), traceparent });
export type PrewarmJob = z.infer<typeof PrewarmJob>;

/** "This sandbox is not needed any more": its session was deleted or archived. With `delete_blobs` what the sandbox left behind goes too. */
export const ReleaseJob = z.object({
  format,
  session_id: z.string(),
  workspace_id: z.string(),
  pool_id: z.string(),
  sandbox_id: z.string(),
  generation: z.int(),
  delete_blobs: z.boolean(),
  traceparent,
});
export type ReleaseJob = z.infer<typeof ReleaseJob>;

/** A job as it is asked for: the queue adds its format and the trace. */
export type JobWish<Job> = Omit<Job, 'format' | 'traceparent'>;
