/** Content blocks in events (CONTRACT 2.12). */
import { z } from 'zod';

export const TextBlock = z.strictObject({ type: z.literal('text'), text: z.string() });
export type TextBlock = z.infer<typeof TextBlock>;

export const IMAGE_MEDIA_TYPES = ['image/png', 'image/jpeg', 'image/gif', 'image/webp'] as const;
export type ImageMediaType = (typeof IMAGE_MEDIA_TYPES)[number];
/** The Messages API refuses more in one image. */
export const IMAGE_MAX_BASE64_CHARS = 5 * 1024 * 1024;
export const IMAGE_MAX_BYTES = (IMAGE_MAX_BASE64_CHARS / 4) * 3;
/** So that a document and what goes around it are one frame of the hand. */
export const DOCUMENT_MAX_BASE64_CHARS = 7 * 1024 * 1024;

/** Larger ones would leave no room for the conversation around them: the Messages API takes 32 MB in all. */
export const CLIENT_DOCUMENT_MAX_BASE64_CHARS = 24 * 1024 * 1024;

const UrlSource = z.strictObject({
  type: z.literal('url'),
  /** Fetched by the model's endpoint, never from here. */
  url: z.url({ protocol: /^https?$/, error: 'must be an http or https URL' }).max(8192),
});
/** A file of the workspace. The session keeps what it held when the block was sent (`attachmentKey`). */
const FileSource = z.strictObject({ type: z.literal('file'), file_id: z.string() });

/** What a client shows as an image or a document. */
export const ImageBlock = z.strictObject({
  type: z.literal('image'),
  source: z.discriminatedUnion(
    'type',
    [
      z.strictObject({
        type: z.literal('base64'),
        media_type: z.enum(IMAGE_MEDIA_TYPES),
        data: z.base64().min(4).max(IMAGE_MAX_BASE64_CHARS),
      }),
      UrlSource,
      FileSource,
    ],
    { error: 'must be a source of type base64, url or file' },
  ),
});
export type ImageBlock = z.infer<typeof ImageBlock>;
export const DocumentBlock = z.strictObject({
  type: z.literal('document'),
  source: z.discriminatedUnion(
    'type',
    [
      z.strictObject({
        type: z.literal('base64'),
        media_type: z.literal('application/pdf'),
        data: z.base64().min(4).max(CLIENT_DOCUMENT_MAX_BASE64_CHARS),
      }),
      z.strictObject({ type: z.literal('text'), media_type: z.literal('text/plain'), data: z.string().min(1) }),
      UrlSource,
      FileSource,
    ],
    { error: 'must be a source of type base64, text, url or file' },
  ),
  title: z.string().nullable().exactOptional(),
  context: z.string().nullable().exactOptional(),
});
export type DocumentBlock = z.infer<typeof DocumentBlock>;

/** What a user message may hold. */
export const UserContent = z
  .array(
    z.discriminatedUnion('type', [TextBlock, ImageBlock, DocumentBlock], {
      error: (issue) =>
        (issue.input as { type?: unknown } | null)?.type === 'redacted'
          ? 'redacted blocks stand for what was taken out and cannot be sent'
          : 'must be a block of type text, image or document, such as {"type":"text","text":"…"}',
    }),
  )
  .min(1);
export type UserContent = z.infer<typeof UserContent>;

/** What a tool shows as an image or a document. Only as bytes: an address here would be fetched on behalf of whoever wrote it. */
export const ToolImageBlock = z.strictObject({
  type: z.literal('image'),
  source: z.strictObject({
    type: z.literal('base64'),
    media_type: z.enum(IMAGE_MEDIA_TYPES),
    data: z.base64().min(4).max(IMAGE_MAX_BASE64_CHARS),
  }),
});
export type ToolImageBlock = z.infer<typeof ToolImageBlock>;
export const ToolDocumentBlock = z.strictObject({
  type: z.literal('document'),
  source: z.strictObject({
    type: z.literal('base64'),
    media_type: z.literal('application/pdf'),
    data: z.base64().min(4).max(DOCUMENT_MAX_BASE64_CHARS),
  }),
});
export type ToolDocumentBlock = z.infer<typeof ToolDocumentBlock>;

/** What a tool in a sandbox answers with. */
export const ToolContent = z.array(z.discriminatedUnion('type', [TextBlock, ToolImageBlock, ToolDocumentBlock]));
export type ToolContent = z.infer<typeof ToolContent>;

/** A page that a search found, or a passage of a source. */
export const SearchResultBlock = z.strictObject({
  type: z.literal('search_result'),
  source: z.string().min(1),
  title: z.string().min(1),
  content: z.array(TextBlock).min(1),
  citations: z.strictObject({ enabled: z.boolean() }),
});
export type SearchResultBlock = z.infer<typeof SearchResultBlock>;

/** What the built-in tools answer with, those of the server included. */
export type BuiltinToolContent = (ToolContent[number] | SearchResultBlock)[];
export interface BuiltinToolResult {
  is_error: boolean;
  content: BuiltinToolContent;
}

/** The text of a tool's answer; blocks of other kinds are named in brackets. */
export function toolText(content: BuiltinToolContent): string {
  return content.map((block) => (block.type === 'text' ? block.text : `[${block.type}]`)).join('');
}
