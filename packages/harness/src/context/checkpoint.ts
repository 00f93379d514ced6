/**
 * Checkpoints of a thread: the folded context in a blob, and its position in the state, so that a turn starts with a short read however long the
 * session is (I14). The blob is durable before the fenced append refers to it; the one before is deleted when the next turn has moved on.
 */
import { AppError, assertFormat } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import { primaryThreadId } from '@manyhands/contract';
import { type Checkpoint, type Lease, LOG_FORMAT, type LogEntry, type SessionLog, type ThreadState } from '@manyhands/session-log';
import type { Turn } from '../thread/turn.ts';
import { withAttachments } from './attachments.ts';
import { type Context, emptyContext, fold } from './context.ts';

const READ_PAGE = 500;
/** Entries behind the last checkpoint that are worth a new one: when the session goes idle, in the middle of a long turn, after a compaction. */
const WORTH_AT = { idle: 64, running: 256, compacted: 1 } as const;

/** `first` are the entries that came with the lease: those behind what is remembered, or behind the checkpoint. */
export async function loadContext(
  deps: { log: SessionLog; blobs: BlobStore },
  lease: Lease,
  state: ThreadState,
  first: LogEntry[],
  remembered: Context | null = null,
): Promise<Context> {
  let context = remembered ?? emptyContext();
  if (!remembered && state.checkpoint) {
    const blob = await deps.blobs.get(state.checkpoint.blob);
    if (!blob) throw new AppError('internal', `the checkpoint of thread ${lease.threadId} is missing from the blob store`);
    const { format, ...stored } = JSON.parse(blob.toString('utf8')) as Context & { format?: number };
    assertFormat(`the checkpoint of thread ${lease.threadId}`, format, LOG_FORMAT);
    context = { ...context, ...stored };
  }
  const add = async (entry: LogEntry) => fold(context, await withAttachments(deps.blobs, lease, entry));
  for (const entry of first) await add(entry);
  while (context.position < state.head) {
    const entries = await deps.log.read(lease.sessionId, context.position, READ_PAGE, lease.threadId);
    if (entries.length === 0) break;
    for (const entry of entries) await add(entry);
  }
  return context;
}

/** This turn wrote a checkpoint, so the one that it began with is still to be deleted. */
export function hasOldCheckpoint({ checkpointed, state }: Turn): boolean {
  return checkpointed !== (state.checkpoint?.position ?? 0);
}

export function isCheckpointDue({ context, checkpointed }: Turn, when: keyof typeof WORTH_AT): boolean {
  return context.position - checkpointed >= WORTH_AT[when];
}

/** Writes a checkpoint blob if one is worth it, for the caller's next append to refer to. */
export async function writeCheckpoint(turn: Turn, when: keyof typeof WORTH_AT): Promise<Checkpoint | null> {
  const { context, lease } = turn;
  if (!isCheckpointDue(turn, when)) return null;
  const blob = checkpointKey(lease, context.position);
  await turn.deps.blobs.put(blob, Buffer.from(JSON.stringify({ format: LOG_FORMAT, ...context })));
  turn.checkpointed = context.position;
  return { position: context.position, blob };
}

/** 0.1.0 had no threads: its checkpoints lie beside the threads' folders. */
function checkpointPrefix({ workspaceId, sessionId }: Lease): string {
  return `${workspaceId}/${sessionId}/context/`;
}
function checkpointKey(lease: Lease, position: number): string {
  return `${checkpointPrefix(lease)}${lease.threadId}/${position}-${lease.epoch}`;
}

/**
 * Deletes checkpoint blobs of this thread that its state does not refer to any more: what is ahead of the one that this worker wrote is of one
 * that took the thread over. Best effort: a left blob costs bytes only.
 */
export async function dropOldCheckpoints(turn: Turn): Promise<void> {
  if (!hasOldCheckpoint(turn)) return;
  const { deps, lease } = turn;
  const current = checkpointKey(lease, turn.checkpointed);
  const own = `${checkpointPrefix(lease)}${lease.threadId}/`;
  const isPrimary = lease.threadId === primaryThreadId(lease.sessionId);
  const name = new RegExp(`^(?:${own}${isPrimary ? `|${checkpointPrefix(lease)}` : ''})(\\d+)-\\d+$`);
  for await (const key of deps.blobs.list(isPrimary ? checkpointPrefix(lease) : own)) {
    const [, position] = name.exec(key) ?? [];
    if (key !== current && position !== undefined && Number(position) <= turn.checkpointed) await deps.blobs.delete(key);
  }
}
