/**
 * The multipart body of an upload: the part `file`, handed on as a stream while it arrives, and the field `expires_in_seconds` before or after
 * it. Never more of it in memory than what is between two pipes.
 *
 * A bad upload is answered with 400 or 413; the rest of the body is read and discarded, so that the client gets the answer.
 */
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { Busboy } from '@fastify/busboy';
import { ensureError, invalidRequest, WireError } from '@manyhands/base';
import { FILE_EXPIRY_SECONDS } from '@manyhands/contract';
import { extensionOf, mediaTypeOf, UNKNOWN_MEDIA_TYPE } from '@manyhands/store';

const FILE_PART = 'file';
const EXPIRY_PART = 'expires_in_seconds';
const FILENAME_MAX_CHARS = 255;
const FIELD_MAX_BYTES = 1_024;
/** What is around the file in its body: boundaries, headers, the other field. */
const ENVELOPE_MAX_BYTES = 64 * 1_024;
/** An upload that sends nothing for so long is over. */
const SILENCE_MS = 120_000;
const MEDIA_TYPE = /^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$/;
const CONTROL = /[\u0000-\u001f\u007f]/;

export interface UploadedFile {
  filename: string;
  mimeType: string;
  bytes: number;
  expiresInSeconds: number | null;
}

function fileTooLarge(limitBytes: number): WireError {
  return new WireError('request_too_large', `file: larger than ${limitBytes} bytes, the most that one file may have`);
}

/** The last component of the name, or one that is made up from the type. */
export function storedName(given: string | undefined, mimeType: string): string {
  const name = (given ?? '').split(/[/\\]/).at(-1)?.trim() ?? '';
  if (CONTROL.test(name)) throw invalidRequest('file: its filename must not hold control characters');
  if (name.length > FILENAME_MAX_CHARS) throw invalidRequest(`file: its filename has at most ${FILENAME_MAX_CHARS} characters`);
  return name === '' || name === '.' || name === '..' ? `unnamed${extensionOf(mimeType)}` : name;
}

function storedType(given: string, filename: string | undefined): string {
  const type = given.toLowerCase();
  if (!MEDIA_TYPE.test(type)) throw invalidRequest('file: its content-type must be a media type such as text/csv');
  return type === UNKNOWN_MEDIA_TYPE ? mediaTypeOf(filename ?? '') : type;
}

function expiry(text: string, truncated: boolean): number {
  const { min, max } = FILE_EXPIRY_SECONDS;
  const seconds = !truncated && /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(seconds) || seconds < min || seconds > max)
    throw invalidRequest(`${EXPIRY_PART}: must be a whole number of seconds from ${min} to ${max}`);
  return seconds;
}

/** Makes the parser; refuses what the headers alone show to be wrong. */
function openParser(request: IncomingMessage, limitBytes: number) {
  const contentType = request.headers['content-type'] ?? '';
  if (!/^multipart\/form-data\s*(;|$)/i.test(contentType))
    throw invalidRequest(`content-type: must be multipart/form-data with a part named "${FILE_PART}"`);
  if (request.headers['content-encoding'] !== undefined && request.headers['content-encoding'] !== 'identity')
    throw invalidRequest('content-encoding: compressed bodies are not supported', { errorCode: 'request_body_encoding_unsupported' });
  if (Number(request.headers['content-length'] ?? 0) > limitBytes + ENVELOPE_MAX_BYTES) throw fileTooLarge(limitBytes);
  try {
    return new Busboy({
      headers: { ...request.headers, 'content-type': contentType },
      preservePath: true,
      // A part is a file by its name alone: its filename may be missing.
      isPartAFile: (name) => name === FILE_PART,
      limits: { fileSize: limitBytes, fieldSize: FIELD_MAX_BYTES, headerPairs: 32, headerSize: 16 * 1_024, parts: 16 },
    });
  } catch {
    throw invalidRequest('content-type: multipart/form-data needs a boundary');
  }
}

/**
 * `store` gets the stream and resolves to the number of bytes when they are durable; it rejects when the stream fails. Resolves when the whole
 * body was read and is in order.
 */
export function readUpload(
  request: IncomingMessage,
  limitBytes: number,
  store: (stream: Readable) => Promise<{ bytes: number }>,
): Promise<UploadedFile> {
  return new Promise((resolve, reject) => {
    const parser = openParser(request, limitBytes);
    let current: Readable | null = null;
    let storing: Promise<{ bytes: number }> | null = null;
    let named: Pick<UploadedFile, 'filename' | 'mimeType'> | null = null;
    let expiresInSeconds: number | null = null;
    let over = false;

    /** The first problem counts. Told only when nothing is written any more. */
    function fail(problem: unknown): void {
      if (over) return;
      over = true;
      request.unpipe(parser);
      request.setTimeout(0);
      request.resume();
      current?.destroy(ensureError(problem));
      void Promise.allSettled([storing]).then(() => reject(problem));
    }
    const checked = (work: () => void): void => {
      try {
        if (!over) work();
      } catch (error) {
        fail(error);
      }
    };

    parser.on('file', (_name, stream, filename: string | undefined, _encoding, contentType) => {
      // Also for a part that is refused: its stream may fail, too.
      stream.on('error', fail);
      checked(() => {
        if (storing !== null) throw invalidRequest(`${FILE_PART}: given more than once; upload one file at a time`);
        const mimeType = storedType(contentType, filename);
        named = { filename: storedName(filename, mimeType), mimeType };
        current = stream;
        stream.once('limit', () => fail(fileTooLarge(limitBytes)));
        storing = store(stream);
        storing.catch(fail);
      });
      if (over) stream.resume();
    });
    parser.on('field', (name: string | undefined, value, _nameTruncated, truncated) =>
      checked(() => {
        if (name !== EXPIRY_PART)
          throw invalidRequest(`${name ?? 'a part without a name'}: unknown field; an upload has ${FILE_PART} and ${EXPIRY_PART}`);
        if (expiresInSeconds !== null) throw invalidRequest(`${EXPIRY_PART}: given more than once`);
        expiresInSeconds = expiry(value, truncated);
      }),
    );
    parser.on('partsLimit', () => fail(invalidRequest('the body has too many parts')));
    parser.on('error', (error: unknown) =>
      fail(invalidRequest(`the body is not valid multipart/form-data: ${ensureError(error).message}`)),
    );
    parser.on('finish', () =>
      checked(() => {
        const stored = named;
        if (storing === null || stored === null) throw invalidRequest(`${FILE_PART}: required; send the file as a part of this name`);
        storing.then(({ bytes }) => {
          if (over) return;
          over = true;
          request.setTimeout(0);
          resolve({ ...stored, bytes, expiresInSeconds });
        }, fail);
      }),
    );
    request.setTimeout(SILENCE_MS, () => fail(invalidRequest('the upload stopped; send it again', { errorCode: 'request_body_timeout' })));
    request.once('error', fail);
    request.once('close', () => {
      if (!request.complete) fail(new Error('the client went away'));
    });
    request.pipe(parser);
  });
}
