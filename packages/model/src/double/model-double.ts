/**
 * The model double: a real HTTP server that speaks the Messages API, scripted from the conversation (see script.ts), with a default job
 * for conversations without a script. It checks requests as the real API does and keeps a journal of them.
 *
 * Routes: POST /v1/messages, POST /v1/messages/count_tokens, GET /v1/models, GET /v1/models/{id};
 * GET and DELETE /double/journal. It listens on loopback only.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Clock, ensureError } from '@manyhands/base';
import { SESSION_HEADER } from '../anthropic/anthropic-model.ts';
import type { Answer, Failure } from './answer.ts';
import { newestUserText, sha } from './conversation.ts';
import { defaultAnswer } from './default-script.ts';
import { createJournal, type JournalEntry } from './journal.ts';
import { play, waitUnlessClosed } from './playback.ts';
import { createPromptCache, promptTokens } from './prompt-cache.ts';
import { type CheckedRequest, checkRequest, Refusal } from './request-checks.ts';
import { ScriptError, scriptedAnswer } from './script.ts';
import { capped, frames, wireMessage } from './wire.ts';

export const DOUBLE_MODEL_ID = 'manyhands-double';
const BODY_MAX_BYTES = 32 * 1024 * 1024;
const ATTEMPTS_MAX = 10_000;
const PING_INTERVAL_MS = 10_000;
const JOURNAL_LIMIT_DEFAULT = 100;
const MODEL = {
  type: 'model',
  id: DOUBLE_MODEL_ID,
  display_name: 'Manyhands model double (scripted)',
  created_at: '2026-01-01T00:00:00Z',
  lifecycle: 'active',
  max_input_tokens: 200_000,
  max_tokens: 64_000,
};

export interface ModelDoubleOptions {
  /** 0 takes any free port. */
  port: number;
  clock?: Clock;
  pingIntervalMs?: number;
}
export interface ModelDouble {
  url: string;
  close(): Promise<void>;
}

/** The system's time with fractions of a millisecond, for the journal. */
const preciseClock: Clock = { now: () => performance.timeOrigin + performance.now() };

export async function startModelDouble(options: ModelDoubleOptions): Promise<ModelDouble> {
  const { clock = preciseClock, pingIntervalMs = PING_INTERVAL_MS } = options;
  const journal = createJournal();
  const cache = createPromptCache(clock);
  /** Attempts by session and request, in order of use. */
  const attempts = new Map<string, number>();
  let requests = 0;

  function countAttempt(key: string): number {
    const attempt = (attempts.get(key) ?? 0) + 1;
    attempts.delete(key);
    attempts.set(key, attempt);
    if (attempts.size > ATTEMPTS_MAX) attempts.delete(attempts.keys().next().value!);
    return attempt;
  }

  async function messages(req: IncomingMessage, res: ServerResponse, entry: JournalEntry, text: string): Promise<void> {
    const request = checkRequest(parseBody(text), { counting: false, betas: betasOf(req) });
    const answer = capped(decide(request), request.maxTokens);
    entry.source = answer.source;
    entry.step = answer.step;
    const seed = sha(text);
    let failure: Failure | null = null;
    if (answer.failure) {
      entry.attempt = countAttempt(`${entry.session} ${seed}`);
      if (entry.attempt <= answer.failure.times) failure = answer.failure.how;
    }
    if (answer.pace.delayMs > 0 && !(await waitUnlessClosed(res, answer.pace.delayMs))) return finish(entry, 'closed');
    if (failure?.type === 'status') {
      if (failure.retryAfterSeconds !== null) res.setHeader('retry-after', String(failure.retryAfterSeconds));
      refuse(res, entry, new Refusal(failure.status, failure.errorType, failure.message));
      return;
    }
    const fault = failure?.fault ?? null;
    const message = wireMessage(answer, request.model, seed, cache.account(request));
    entry.status = 200;
    const onFirstByte = () => {
      entry.first_byte_at_ms = clock.now();
    };
    if (request.stream)
      return finish(entry, await play(res, { frames: frames(answer, message), pace: answer.pace, fault, pingIntervalMs, onFirstByte }));
    onFirstByte();
    if (fault === 'cut') res.destroy();
    else if (fault === 'error_event') return refuse(res, entry, new Refusal(529, 'overloaded_error', 'scripted overload'));
    else if (fault === 'malformed' || fault === 'end')
      res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(message).slice(0, -10));
    else if (fault === null) json(res, 200, message);
    // A stall ends when the client gives up.
    if (fault === 'stall') await new Promise((resolve) => res.once('close', resolve));
    finish(entry, fault ?? 'answered');
  }

  function finish(entry: JournalEntry, outcome: string): void {
    entry.outcome = outcome;
    entry.ended_at_ms = clock.now();
  }

  function refuse(res: ServerResponse, entry: JournalEntry | null, refusal: Refusal): void {
    if (entry) {
      entry.status = refusal.status;
      finish(entry, 'refused');
    }
    json(res, refusal.status, {
      type: 'error',
      error: { type: refusal.type, message: refusal.message },
      request_id: String(res.getHeader('request-id')),
    });
  }

  async function route(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const receivedAtMs = clock.now();
    requests += 1;
    res.setHeader('request-id', `req_double${String(requests).padStart(9, '0')}`);
    const url = new URL(req.url ?? '/', 'http://double');
    let entry: JournalEntry | null = null;
    try {
      if (url.pathname === '/double/journal') return journalRoute(req, res, url);
      checkKey(req);
      if (req.method === 'POST' && (url.pathname === '/v1/messages' || url.pathname === '/v1/messages/count_tokens')) {
        const text = await readBody(req);
        const session = req.headers[SESSION_HEADER];
        entry = journal.open(typeof session === 'string' ? session : null, url.pathname, receivedAtMs, text);
        if (url.pathname === '/v1/messages') return await messages(req, res, entry, text);
        json(res, 200, { input_tokens: promptTokens(checkRequest(parseBody(text), { counting: true, betas: betasOf(req) })) });
        entry.status = 200;
        return finish(entry, 'answered');
      }
      if (req.method === 'GET' && url.pathname === '/v1/models')
        return json(res, 200, { data: [MODEL], has_more: false, first_id: MODEL.id, last_id: MODEL.id });
      if (req.method === 'GET' && url.pathname === `/v1/models/${DOUBLE_MODEL_ID}`) return json(res, 200, MODEL);
      throw new Refusal(404, 'not_found_error', `${req.method} ${url.pathname} is not served by the model double`);
    } catch (error) {
      // A client that went away while it was still sending ends up here too; nobody reads this answer then.
      const refusal =
        error instanceof Refusal ? error : new Refusal(500, 'api_error', `the model double failed: ${ensureError(error).message}`);
      if (res.headersSent) res.destroy();
      else refuse(res, entry, refusal);
    }
  }

  function journalRoute(req: IncomingMessage, res: ServerResponse, url: URL): void {
    if (req.method === 'DELETE') journal.clear();
    else if (req.method !== 'GET') throw new Refusal(405, 'invalid_request_error', 'the journal takes GET and DELETE');
    const limit = Number(url.searchParams.get('limit') ?? JOURNAL_LIMIT_DEFAULT);
    if (!Number.isInteger(limit) || limit < 1) throw new Refusal(400, 'invalid_request_error', 'limit: must be a whole number, at least 1');
    const entries = journal.read(url.searchParams.get('session'), limit);
    json(res, 200, { data: entries.map((entry) => ({ ...entry, body: jsonOrText(entry.body) })) });
  }

  const server: Server = createServer((req, res) => void route(req, res));
  // Longer than clients keep idle connections, so that none is closed under a request.
  server.keepAliveTimeout = 65_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function decide(request: CheckedRequest): Answer {
  const user = newestUserText(request.runs);
  if (!user) throw new Refusal(400, 'invalid_request_error', 'messages: the model double needs a text of the user');
  try {
    return scriptedAnswer(request.runs, user) ?? defaultAnswer(request.runs, user, request.tools);
  } catch (error) {
    if (error instanceof ScriptError) throw new Refusal(400, 'invalid_request_error', error.message);
    throw error;
  }
}

function checkKey(req: IncomingMessage): void {
  if (!req.headers['x-api-key'] && !req.headers.authorization)
    throw new Refusal(401, 'authentication_error', 'x-api-key header is required');
  if (!req.headers['anthropic-version']) throw new Refusal(400, 'invalid_request_error', 'anthropic-version: header is required');
}

function betasOf(req: IncomingMessage): Set<string> {
  const header = req.headers['anthropic-beta'];
  return new Set((Array.isArray(header) ? header.join(',') : (header ?? '')).split(',').map((beta) => beta.trim()));
}

async function readBody(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of req as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_MAX_BYTES) throw new Refusal(413, 'request_too_large', 'Request exceeds the maximum size of 32 MB');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseBody(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Refusal(400, 'invalid_request_error', `The request body is not valid JSON: ${(error as Error).message}`);
  }
}

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function json(res: ServerResponse, status: number, body: unknown): void {
  if (res.destroyed || res.headersSent) return;
  res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
