/** Small whole images of each kind (3 × 2 pixels), and PNGs and PDFs made to order. */
import { crc32, deflateSync } from 'node:zlib';

const of = (base64: string) => Buffer.from(base64, 'base64');

export const JPEG = of(
  '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////////////wgALCAACAAMBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAAf/aAAgBAQAAAAE//8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABBQJ//8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQAGPwJ//8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPyF//9oACAEBAAAAEP8A/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxB//9k=',
);
export const GIF = of('R0lGODdhAwACAIEAAMgKCgAAAAAAAAAAACwAAAAAAwACAAAIBgABCBwYEAA7');
export const WEBP_LOSSY = of('UklGRjwAAABXRUJQVlA4IDAAAADQAQCdASoDAAIAAUAmJaACdLoB+AADsAD+9hNf/izkYjs83/4E78Cd+BO/8AAAAAA=');
export const WEBP_LOSSLESS = of('UklGRh4AAABXRUJQVlA4TBEAAAAvAkAAAAdQhSJXof+BiOh/AAA=');

/** A grey PNG; `filler` bytes of a private chunk make it as long as wanted. */
export function png(width: number, height: number, filler = 0): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = 8;
  const rows = deflateSync(Buffer.alloc((width + 1) * height));
  const chunks = [chunk('IHDR', header), chunk('IDAT', rows), chunk('IEND', Buffer.alloc(0))];
  if (filler > 0) chunks.splice(1, 0, chunk('maNy', Buffer.alloc(filler, 7)));
  return Buffer.concat([of('iVBORw0KGgo='), ...chunks]);
}

function chunk(name: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(name, 'latin1'), data]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32BE(data.length, 0);
  ends.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
}

/** A PDF of empty pages; `packed` keeps its page tree in a compressed object stream, as newer programs do. */
export function pdf(pages: number, { packed = false, trailer = '', filler = 0 } = {}): Buffer {
  const kids = Array.from({ length: pages }, (_, at) => `${at + 10} 0 R`).join(' ');
  const tree = `<< /Type /Pages /Kids [${kids}] /Count ${pages} >>`;
  const leaves = Array.from({ length: pages }, () => '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>').join('\n');
  const objects = deflateSync(Buffer.from(`${tree}\n${leaves}`));
  const body = packed
    ? Buffer.concat([
        Buffer.from(`2 0 obj << /Type /ObjStm /Filter /FlateDecode /Length ${objects.length} >>\nstream\n`),
        objects,
        Buffer.from('\nendstream endobj\n'),
      ])
    : Buffer.from(`2 0 obj ${tree} endobj\n${leaves}\n`);
  return Buffer.concat([
    Buffer.from('%PDF-1.7\n%\xe2\xe3\xcf\xd3\0\n', 'latin1'),
    Buffer.from('1 0 obj << /Type /Catalog /Pages 2 0 R >> endobj\n'),
    body,
    Buffer.alloc(filler, 7),
    Buffer.from(`trailer << /Root 1 0 R ${trailer} >>\n%%EOF\n`),
  ]);
}
