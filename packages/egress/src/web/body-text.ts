/** Bytes of a fetched page as text: content type, encoding and character set, each as the answer declares it. */

import type { Readable } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';

const TEXT_TYPE =
  /^(text\/.+|application\/(json|xml|javascript|ecmascript|yaml|x-yaml|toml|x-ndjson|x-sh|sql|graphql|[\w.-]+\+(json|xml|yaml)))$/;
const CHARSET_SCAN_BYTES = 2048;

/** The bare media type in lower case, '' if there is none. */
export function mediaType(contentType: string): string {
  return (contentType.split(';', 1)[0] ?? '').trim().toLowerCase();
}
export function isTextType(type: string): boolean {
  return TEXT_TYPE.test(type);
}
export function isHtmlType(type: string): boolean {
  return type === 'text/html' || type === 'application/xhtml+xml';
}

/** Reads at most `maxBytes` of a body after decompression, so that no archive bomb gets further. Null for an unknown encoding. */
export async function readBody(body: Readable, encoding: string, maxBytes: number): Promise<{ bytes: Buffer; truncated: boolean } | null> {
  const decoder = decoderOf(encoding.trim().toLowerCase());
  if (decoder === 'unknown') return null;
  const source = decoder ? body.pipe(decoder) : body;
  // A pipe does not pass errors on; after the reading ended there is nobody to pass them to.
  decoder?.on('error', () => {});
  body.on('error', (error) => decoder?.destroy(error));
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of source as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > maxBytes) return { bytes: Buffer.concat(chunks).subarray(0, maxBytes), truncated: true };
  }
  return { bytes: Buffer.concat(chunks), truncated: false };
}

function decoderOf(encoding: string) {
  if (encoding === '' || encoding === 'identity') return null;
  if (encoding === 'gzip' || encoding === 'x-gzip') return createGunzip();
  if (encoding === 'deflate') return createInflate();
  return encoding === 'br' ? createBrotliDecompress() : ('unknown' as const);
}

/** By the declared character set, else UTF-8, else Latin-1, which every byte sequence is. */
export function decodeText(bytes: Buffer, contentType: string): string {
  const declared =
    /charset\s*=\s*["']?([\w:.-]{1,40})/i.exec(contentType)?.[1] ??
    /<meta[^>]{0,200}charset\s*=\s*["']?([\w:.-]{1,40})/i.exec(bytes.subarray(0, CHARSET_SCAN_BYTES).toString('latin1'))?.[1];
  for (const label of [declared, 'utf-8']) {
    if (!label) continue;
    try {
      // `stream` leaves a character that the cut at the end has halved out of it.
      return new TextDecoder(label, { fatal: true }).decode(bytes, { stream: true });
    } catch {
      // Unknown name or wrong bytes: the next one.
    }
  }
  return new TextDecoder('latin1').decode(bytes);
}
