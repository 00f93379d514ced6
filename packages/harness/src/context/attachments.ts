/**
 * Files in messages, on their way into the context: the log refers to them, the model is shown their bytes. The bytes were stored with the
 * session before the event was, so the same log makes the same context on every worker.
 */
import type { BlobStore } from '@manyhands/blobs';
import { attachmentKey, detectMedia, fileReference } from '@manyhands/contract';
import type { LogEntry } from '@manyhands/session-log';

interface Block {
  type: string;
}

function contentOf({ event }: LogEntry): readonly Block[] {
  return (event.type === 'user.message' || event.type === 'user.custom_tool_result') && event.content ? event.content : [];
}

/** The entry with bytes instead of references. One whose bytes are gone keeps its reference, and the model is told so in words. */
export async function withAttachments(
  blobs: BlobStore,
  { workspaceId, sessionId }: { workspaceId: string; sessionId: string },
  entry: LogEntry,
): Promise<LogEntry> {
  if (entry.kind === 'queued' || !contentOf(entry).some((block) => fileReference(block))) return entry;
  const content = await Promise.all(
    contentOf(entry).map(async (block): Promise<Block> => {
      const reference = fileReference(block);
      const bytes = reference ? await blobs.get(attachmentKey(workspaceId, sessionId, reference.fileId)) : null;
      return bytes ? ({ ...block, source: sourceOf(bytes) } as Block) : block;
    }),
  );
  return { ...entry, event: { ...entry.event, content } as LogEntry['event'] };
}

function sourceOf(bytes: Buffer) {
  const type = detectMedia(bytes);
  return type === null
    ? { type: 'text', media_type: 'text/plain', data: bytes.toString('utf8') }
    : { type: 'base64', media_type: type, data: bytes.toString('base64') };
}
