/**
 * Files that messages and results of custom tools refer to, `{"type":"file","file_id":"file_…"}` (CONTRACT 2.12). When such a block is sent,
 * the bytes become an attachment of the session: what the conversation has shown stays, whatever becomes of the file.
 */
import { CLIENT_DOCUMENT_MAX_BASE64_CHARS, type ImageMediaType } from './content.ts';

/** Documents by file in one request (BEHAVIOUR 5.1). */
export const FILE_DOCUMENTS_MAX = 100;
/** All files of a request together, each as often as it is named: more would not fit into one request to a model. */
export const ATTACHMENTS_MAX_BYTES = 20 * 1024 * 1024;
export const ATTACHED_TEXT_MAX_BYTES = 4 * 1024 * 1024;
export const ATTACHED_PDF_MAX_BYTES = (CLIENT_DOCUMENT_MAX_BASE64_CHARS / 4) * 3;

/** Where the bytes are: below the session, so that they go with it. A file never changes, so its id says it all. */
export function attachmentKey(workspaceId: string, sessionId: string, fileId: string): string {
  return `${workspaceId}/${sessionId}/attachments/${fileId}`;
}

export type MediaType = ImageMediaType | 'application/pdf';

/** Bytes that `detectMedia` needs. */
export const MEDIA_HEAD_BYTES = 16;

/** What the first bytes of a file say that it is, whatever its name; null for anything else. */
export function detectMedia(head: Uint8Array): MediaType | null {
  const text = String.fromCharCode(...head.subarray(0, MEDIA_HEAD_BYTES));
  if (text.startsWith('\x89PNG\r\n\x1a\n')) return 'image/png';
  if (text.startsWith('\xff\xd8\xff')) return 'image/jpeg';
  if (/^GIF8[79]a/.test(text)) return 'image/gif';
  if (text.startsWith('RIFF') && text.startsWith('WEBP', 8)) return 'image/webp';
  return /^%PDF-\d/.test(text) ? 'application/pdf' : null;
}

export interface FileReference {
  kind: 'image' | 'document';
  fileId: string;
}
interface Block {
  type: string;
  source?: unknown;
}

/** The file that a block refers to, if it does. */
export function fileReference(block: Block): FileReference | null {
  if (block.type !== 'image' && block.type !== 'document') return null;
  const source = block.source as { type: string; file_id?: string };
  return source.type === 'file' && source.file_id !== undefined ? { kind: block.type, fileId: source.file_id } : null;
}
