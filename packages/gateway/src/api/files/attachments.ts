/**
 * Files that messages and results of custom tools refer to. All are checked before anything is stored: that they exist, what they hold, and
 * that together they fit into a model request. Then their bytes are copied into attachments of the session, and only then the events are
 * written: an event in the log never refers to bytes that may be deleted (I1).
 */
import { isUtf8 } from 'node:buffer';
import { AppError, invalidRequest, notFound } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import {
  ATTACHED_PDF_MAX_BYTES,
  ATTACHED_TEXT_MAX_BYTES,
  ATTACHMENTS_MAX_BYTES,
  attachmentKey,
  type ClientEventIn,
  detectMedia,
  FILE_DOCUMENTS_MAX,
  type FileReference,
  fileBlobKey,
  fileReference,
  IMAGE_MAX_BYTES,
  MEDIA_HEAD_BYTES,
} from '@manyhands/contract';
import type { StoredFile } from '@manyhands/store';
import type { GatewayDeps } from '../../deps.ts';
import { findFile } from './session-files.ts';

type Deps = Pick<GatewayDeps, 'files' | 'blobs'>;
type Attached = FileReference & { field: string };
const COPIES_AT_ONCE = 16;

/** Where in the request files are referred to; `list` is the name of the events' field. */
function references(events: readonly Pick<ClientEventIn, 'type'>[], list: string): Attached[] {
  return events.flatMap((event, at) => {
    const content = 'content' in event && Array.isArray(event.content) ? (event.content as { type: string }[]) : [];
    return content.flatMap((block, index) => {
      const reference = fileReference(block);
      return reference ? [{ ...reference, field: `${list}.${at}.content.${index}.source.file_id` }] : [];
    });
  });
}

export interface Attachments {
  /** Makes the bytes the session's. Throws `not found` for a file that went meanwhile. May be repeated. */
  keep(sessionId: string): Promise<void>;
}

/** Everything that can be refused; null where no file is referred to. */
export async function checkAttachments(
  { files, blobs }: Deps,
  workspaceId: string,
  events: readonly Pick<ClientEventIn, 'type'>[],
  list: 'events' | 'initial_events',
): Promise<Attachments | null> {
  const wanted = references(events, list);
  if (wanted.length === 0) return null;
  if (wanted.filter(({ kind }) => kind === 'document').length > FILE_DOCUMENTS_MAX)
    throw invalidRequest(`${list}: at most ${FILE_DOCUMENTS_MAX} documents by file in one request; send the others in another one`);
  const found = new Map<string, StoredFile>();
  const looked = new Set<string>();
  let bytes = 0;
  for (const { fileId, field, kind } of wanted) {
    const file = found.get(fileId) ?? (await findFile({ files }, workspaceId, fileId));
    found.set(fileId, file);
    // A file is read once for each kind, however often it is named.
    const look = `${kind} ${fileId}`;
    const problem = looked.has(look) ? null : await contentProblem(blobs, workspaceId, file, kind);
    if (problem !== null) throw invalidRequest(`${field}: ${problem}`);
    looked.add(look);
    bytes += file.size_bytes;
  }
  if (bytes > ATTACHMENTS_MAX_BYTES)
    throw invalidRequest(
      `${list}: the files of one request are ${bytes} bytes together, and a model takes ${ATTACHMENTS_MAX_BYTES}; send fewer, or mount them as resources`,
    );
  return {
    async keep(sessionId) {
      const all = [...found.values()];
      for (let at = 0; at < all.length; at += COPIES_AT_ONCE)
        await Promise.all(all.slice(at, at + COPIES_AT_ONCE).map((file) => keepOne(blobs, workspaceId, sessionId, file)));
    },
  };
}

async function keepOne(blobs: BlobStore, workspaceId: string, sessionId: string, file: StoredFile): Promise<void> {
  const from = fileBlobKey(workspaceId, file.session_id, file.id);
  if (!(await blobs.copy(from, attachmentKey(workspaceId, sessionId, file.id)))) throw notFound('file', file.id);
}

/** Why a block of this kind cannot show the file; null if it can. What counts is what it holds, not its name or declared type. */
async function contentProblem(
  blobs: BlobStore,
  workspaceId: string,
  file: StoredFile,
  kind: FileReference['kind'],
): Promise<string | null> {
  const { id, size_bytes } = file;
  const key = fileBlobKey(workspaceId, file.session_id, id);
  const tooLarge = (limit: number) => (size_bytes > limit ? `${id} has ${size_bytes} bytes; at most ${limit}` : null);
  if (size_bytes === 0) return `${id} is empty`;
  const type = detectMedia(await head(blobs, key, id));
  if (kind === 'image')
    return type === null || type === 'application/pdf' ? `${id} is no PNG, JPEG, GIF or WebP image` : tooLarge(IMAGE_MAX_BYTES);
  if (type === 'application/pdf') return tooLarge(ATTACHED_PDF_MAX_BYTES);
  const large = tooLarge(ATTACHED_TEXT_MAX_BYTES);
  if (large !== null) return large;
  return isText(await blobs.get(key))
    ? null
    : `${id} is neither a PDF nor UTF-8 text; mount it as a resource and let the agent look into it`;
}

async function head(blobs: BlobStore, key: string, fileId: string): Promise<Buffer> {
  const blob = await blobs.open(key);
  if (!blob) throw notFound('file', fileId);
  const chunks: Buffer[] = [];
  let length = 0;
  // Leaving the loop closes the stream.
  for await (const chunk of blob.stream as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length >= MEDIA_HEAD_BYTES) break;
  }
  return Buffer.concat(chunks);
}

function isText(bytes: Buffer | null): boolean {
  if (bytes === null) throw new AppError('unavailable', 'the file went while it was read');
  return isUtf8(bytes) && !bytes.includes(0) && bytes.toString('utf8').trim() !== '';
}
