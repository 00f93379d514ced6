/**
 * Checkpoints: the folded context in a blob, and its position in the state, so that a turn starts with a short read however long the
 * session is (I14). The blob is durable before the fenced append refers to it; the one before is deleted when the next turn has moved on.
 */
import { AppError } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import type { Checkpoint, LogEntry, SessionLog, SessionRecord, SessionState } from '@manyhands/session-log';
import { withAttachments } from './attachments.ts';
import { type Context, emptyContext, fold } from './context.ts';
import type { Turn } from './turn.ts';

const READ_PAGE = 500;
/** Entries behind the last checkpoint that are worth a new one: when the session goes idle, in the middle of a long turn, after a compaction. */
const WORTH_AT = { idle: 64, running: 256, compacted: 1 } as const;

/** `first` are the entries behind the checkpoint that came with the lease. */
export async function loadContext(
  deps: { log: SessionLog; blobs: BlobStore },
  record: SessionRecord,
  state: SessionState,
  first: LogEntry[],
): Promise<Context> {
  let context = emptyContext();
  if (state.checkpoint) {
    const blob = await deps.blobs.get(state.checkpoint.blob);
    if (!blob) throw new AppError('internal', `the checkpoint of session ${record.id} is missing from the blob store`);
    context = { ...context, ...(JSON.parse(blob.toString('utf8')) as Context) };
  }
  const place = { workspaceId: record.workspace_id, sessionId: record.id };
  const add = async (entry: LogEntry) => fold(context, await withAttachments(deps.blobs, place, entry));
  for (const entry of first) await add(entry);
  while (context.position < state.head) {
    const entries = await deps.log.read(record.id, context.position, READ_PAGE);
    if (entries.length === 0) break;
    for (const entry of entries) await add(entry);
  }
  return context;
}

/** Writes a checkpoint blob if one is worth it, for the caller's next append to refer to. */
export async function writeCheckpoint(turn: Turn, when: keyof typeof WORTH_AT): Promise<Checkpoint | null> {
  const { context, record, lease } = turn;
  if (context.position - turn.checkpointed < WORTH_AT[when]) return null;
  const blob = `${record.workspace_id}/${record.id}/context/${context.position}-${lease.epoch}`;
  await turn.deps.blobs.put(blob, Buffer.from(JSON.stringify(context)));
  turn.checkpointed = context.position;
  return { position: context.position, blob };
}

/** Deletes checkpoint blobs that the state does not refer to. Best effort: a left blob costs bytes only. */
export async function dropOldCheckpoints(turn: Turn): Promise<void> {
  const { record, deps, state } = turn;
  if (turn.checkpointed === (state.checkpoint?.position ?? 0)) return;
  const current = `${record.workspace_id}/${record.id}/context/${turn.checkpointed}-${turn.lease.epoch}`;
  for await (const key of deps.blobs.list(`${record.workspace_id}/${record.id}/context/`))
    if (key !== current) await deps.blobs.delete(key);
}
