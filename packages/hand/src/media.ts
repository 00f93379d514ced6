/**
 * Images and PDFs, known by their contents and never by their name. What is sent to a model stays in the conversation, and a model API refuses
 * the whole request for one block that it cannot take: so a file is sent only if its structure is whole and within the API's limits.
 */
import { inflateSync } from 'node:zlib';
import { DOCUMENT_MAX_BASE64_CHARS, IMAGE_MAX_BASE64_CHARS, type ImageMediaType, type MediaType } from '@manyhands/contract';

export const IMAGE_MAX_BYTES = (IMAGE_MAX_BASE64_CHARS / 4) * 3;
export const DOCUMENT_MAX_BYTES = (DOCUMENT_MAX_BASE64_CHARS / 4) * 3;
/** Limits of the Messages API. */
export const IMAGE_MAX_PIXELS = 8_000;
export const DOCUMENT_MAX_PAGES = 100;
/** Looking into a PDF is bounded, whatever it holds. */
const INFLATE_MAX_BYTES = 16 * 1024 * 1024;
const PAGE_TREES_MAX = 2_000;
const DICTIONARY_MAX_CHARS = 4_000;

export function mediaMaxBytes(type: MediaType): number {
  return type === 'application/pdf' ? DOCUMENT_MAX_BYTES : IMAGE_MAX_BYTES;
}

/** Why the file cannot be shown, or null if it can. */
export function mediaProblem(type: MediaType, bytes: Buffer): string | null {
  if (type === 'application/pdf') return pdfProblem(bytes);
  const size = imageSize(type, bytes);
  if (size === null || size.width === 0 || size.height === 0) return 'is damaged or not whole';
  if (Math.max(size.width, size.height) > IMAGE_MAX_PIXELS)
    return `is ${size.width} × ${size.height} pixels, above the limit of ${IMAGE_MAX_PIXELS} on a side; make it smaller with bash`;
  return null;
}

interface Size {
  width: number;
  height: number;
}

/** Width and height of a whole image; null if something is missing. */
function imageSize(type: ImageMediaType, bytes: Buffer): Size | null {
  try {
    switch (type) {
      case 'image/png':
        return pngSize(bytes);
      case 'image/jpeg':
        return jpegSize(bytes);
      case 'image/gif':
        return gifSize(bytes);
      case 'image/webp':
        return webpSize(bytes);
    }
  } catch (error) {
    // A read behind the end.
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/** Chunks of length, name, data and checksum, from IHDR to IEND, with image data between. */
function pngSize(bytes: Buffer): Size | null {
  if (bytes.toString('latin1', 12, 16) !== 'IHDR') return null;
  const size = { width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20) };
  let hasData = false;
  for (let at = 8; at + 12 <= bytes.length; at += 12 + bytes.readUInt32BE(at)) {
    const name = bytes.toString('latin1', at + 4, at + 8);
    if (name === 'IDAT') hasData = true;
    if (name === 'IEND') return hasData ? size : null;
  }
  return null;
}

/** Segments up to the start of the scan, one of them a frame header; the end marker somewhere behind. */
function jpegSize(bytes: Buffer): Size | null {
  let size: Size | null = null;
  for (let at = 2; ; ) {
    if (bytes.readUInt8(at) !== 0xff) return null;
    const marker = bytes.readUInt8(at + 1);
    if (marker === 0xff) {
      at++;
      continue;
    }
    const length = bytes.readUInt16BE(at + 2);
    if (length < 2) return null;
    // SOF0 to SOF15 without DHT, JPG and DAC.
    if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc)
      size = { height: bytes.readUInt16BE(at + 5), width: bytes.readUInt16BE(at + 7) };
    if (marker === 0xda) return bytes.lastIndexOf(Buffer.from([0xff, 0xd9])) > at ? size : null;
    at += 2 + length;
  }
}

/** A screen descriptor, then blocks up to the trailer (which some files lack), an image among them. */
function gifSize(bytes: Buffer): Size | null {
  const size = { width: bytes.readUInt16LE(6), height: bytes.readUInt16LE(8) };
  const tableBytes = (flags: number) => (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0);
  let at = 13 + tableBytes(bytes.readUInt8(10));
  let hasImage = false;
  for (;;) {
    const kind = at === bytes.length ? 0x3b : bytes.readUInt8(at++);
    if (kind === 0x3b) return hasImage ? size : null;
    if (kind === 0x2c) {
      hasImage = true;
      // The descriptor, its colour table, and the code size.
      at += 9 + tableBytes(bytes.readUInt8(at + 8)) + 1;
    } else if (kind === 0x21) at++;
    else return null;
    for (let length = bytes.readUInt8(at++); length > 0; length = bytes.readUInt8(at++)) at += length;
  }
}

/** A RIFF file of the length that it says, whose first chunk has the size. */
function webpSize(bytes: Buffer): Size | null {
  if (bytes.readUInt32LE(4) + 8 > bytes.length) return null;
  const chunk = bytes.toString('latin1', 12, 16);
  if (chunk === 'VP8X') return { width: bytes.readUIntLE(24, 3) + 1, height: bytes.readUIntLE(27, 3) + 1 };
  if (chunk === 'VP8L') {
    const bits = bytes.readUInt32LE(21);
    return bytes.readUInt8(20) === 0x2f ? { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 } : null;
  }
  if (chunk !== 'VP8 ' || bytes.readUIntBE(23, 3) !== 0x9d012a) return null;
  return { width: bytes.readUInt16LE(26) & 0x3fff, height: bytes.readUInt16LE(28) & 0x3fff };
}

function pdfProblem(bytes: Buffer): string | null {
  const text = bytes.toString('latin1');
  if (!text.includes('%%EOF', Math.max(0, text.length - 2_048))) return 'is damaged or not whole';
  if (/\/Encrypt\s+(\d+\s+\d+\s+R|<<)/.test(text)) return 'is encrypted; take its protection off with bash';
  const pages = Math.max(...[text, ...compressedObjects(text, bytes)].map(countPages));
  if (pages > DOCUMENT_MAX_PAGES)
    return `has ${pages} pages, above the limit of ${DOCUMENT_MAX_PAGES}; take a part of it out with bash, or its text with pdftotext`;
  return null;
}

/** The object streams, in which newer PDFs keep their page tree. What cannot be unpacked is left out. */
function compressedObjects(text: string, bytes: Buffer): string[] {
  const parts: string[] = [];
  let left = INFLATE_MAX_BYTES;
  for (const found of text.matchAll(/\/Type\s*\/ObjStm\b/g)) {
    const start = /stream\r?\n/g;
    start.lastIndex = found.index;
    const opened = start.exec(text);
    if (opened === null || left <= 0) break;
    const from = opened.index + opened[0].length;
    const to = text.indexOf('endstream', from);
    if (to < 0) break;
    try {
      const part = inflateSync(bytes.subarray(from, to), { maxOutputLength: left });
      left -= part.length;
      parts.push(part.toString('latin1'));
    } catch {
      // Another filter, or too much of it.
    }
  }
  return parts;
}

/** The pages that are there, or that a page tree says there are, whichever is more: trees and pages may stand in different parts. */
function countPages(part: string): number {
  let pages = part.match(/\/Type\s*\/Page(?![A-Za-z])/g)?.length ?? 0;
  let trees = 0;
  for (const { index } of part.matchAll(/\/Type\s*\/Pages\b/g)) {
    if (++trees > PAGE_TREES_MAX) break;
    // The dictionary around it, as far as it has none inside.
    const before = part.slice(Math.max(0, index - DICTIONARY_MAX_CHARS), index);
    const after = part.slice(index, index + DICTIONARY_MAX_CHARS);
    const own = before.slice(before.lastIndexOf('<<') + 1) + after.slice(0, after.indexOf('>>') + 1 || undefined);
    pages = Math.max(pages, Number(/\/Count\s+(\d{1,9})/.exec(own)?.[1] ?? 0));
  }
  return pages;
}
