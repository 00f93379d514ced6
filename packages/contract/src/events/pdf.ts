/**
 * What a PDF has to be to be shown to a model, for everybody who makes a document block of one. A model API refuses the whole request, and
 * with it the session, for one document that it cannot take: so the structure is looked at first.
 */
import { inflateSync } from 'node:zlib';
import { DOCUMENT_MAX_BASE64_CHARS } from './content.ts';

export const DOCUMENT_MAX_BYTES = (DOCUMENT_MAX_BASE64_CHARS / 4) * 3;
/** A limit of the Messages API. */
export const DOCUMENT_MAX_PAGES = 100;
/** Looking into a PDF is bounded, whatever it holds. */
const INFLATE_MAX_BYTES = 16 * 1024 * 1024;
const PAGE_TREES_MAX = 2_000;
const DICTIONARY_MAX_CHARS = 4_000;

export type PdfProblem = { kind: 'damaged' } | { kind: 'encrypted' } | { kind: 'pages'; pages: number };

/** Why it cannot be shown, or null if it can. Its size is not looked at. */
export function pdfProblem(bytes: Buffer): PdfProblem | null {
  const text = bytes.toString('latin1');
  if (!/^%PDF-\d/.test(text) || !text.includes('%%EOF', Math.max(0, text.length - 2_048))) return { kind: 'damaged' };
  if (/\/Encrypt\s+(\d+\s+\d+\s+R|<<)/.test(text)) return { kind: 'encrypted' };
  const pages = Math.max(...[text, ...compressedObjects(text, bytes)].map(countPages));
  return pages > DOCUMENT_MAX_PAGES ? { kind: 'pages', pages } : null;
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
