/**
 * Parses request bodies: JSON in UTF-8, nothing else. An empty body is "no body", whatever its content type says: SDKs send archive and the like
 * with `content-length: 0` and no content type (CONTRACT 0.1).
 */
import { invalidRequest } from '@manyhands/base';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { parseJson } from './json.ts';

export const BODY_LIMIT_BYTES = 32 * 1024 * 1024;
const UTF8_NAMES = new Set(['utf-8', 'utf8', 'us-ascii', 'ascii']);

/** Throws the error that the client gets. */
function checkHeaders(request: FastifyRequest): void {
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    throw invalidRequest('content-encoding: compressed bodies are not supported; send plain JSON', {
      errorCode: 'request_body_encoding_unsupported',
    });
  }
  const [mediaType = '', ...parameters] = (request.headers['content-type'] ?? '').split(';').map((part) => part.trim().toLowerCase());
  if (mediaType !== 'application/json' && !mediaType.endsWith('+json')) throw invalidRequest('content-type: must be application/json');
  for (const parameter of parameters) {
    if (!parameter.startsWith('charset=')) continue;
    const charset = parameter.slice('charset='.length).replaceAll('"', '');
    if (!UTF8_NAMES.has(charset)) throw invalidRequest('content-type: the charset must be utf-8', { errorCode: 'unsupported_charset' });
  }
}

export function registerBodyParser(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (request, body, done) => {
    const bytes = body as Buffer;
    if (bytes.length === 0) return done(null, undefined);
    try {
      checkHeaders(request);
      done(null, parseJson(bytes));
    } catch (error) {
      done(error as Error);
    }
  });
}
