/**
 * Images and PDFs, known by their contents and never by their name. What is sent to a model stays in the conversation, and a model API refuses
 * the whole request for one block that it cannot take: so a file is sent only if its structure is whole and within the API's limits.
 */
import {
  DOCUMENT_MAX_BYTES,
  DOCUMENT_MAX_PAGES,
  IMAGE_MAX_BYTES,
  type ImageMediaType,
  type MediaType,
  pdfProblem,
} from '@manyhands/contract';

/** A limit of the Messages API. */
export const IMAGE_MAX_PIXELS = 8_000;

export function mediaMaxBytes(type: MediaType): number {
  return type === 'application/pdf' ? DOCUMENT_MAX_BYTES : IMAGE_MAX_BYTES;
}

/** Why the file cannot be shown, or null if it can. */
export function mediaProblem(type: MediaType, bytes: Buffer): string | null {
  if (type === 'application/pdf') return pdfReason(bytes);
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

function pdfReason(bytes: Buffer): string | null {
  const problem = pdfProblem(bytes);
  switch (problem?.kind) {
    case 'damaged':
      return 'is damaged or not whole';
    case 'encrypted':
      return 'is encrypted; take its protection off with bash';
    case 'pages':
      return `has ${problem.pages} pages, above the limit of ${DOCUMENT_MAX_PAGES}; take a part of it out with bash, or its text with pdftotext`;
    case undefined:
      return null;
  }
}
