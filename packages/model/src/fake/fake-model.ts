/**
 * The fake model: a real HTTP server that speaks the Messages API, scripted from the conversation (see script.ts), with a default job
 * for conversations without a script. It checks requests as the real API does and keeps a journal of them.
 *
 * Routes: POST /v1/messages, POST /v1/messages/count_tokens, GET /v1/models, GET /v1/models/{id};
 * GET and DELETE /fake/journal. It listens on loopback unless it is told otherwise.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Clock, ensureError } from '@manyhands/base';
import { SESSION_HEADER } from '../anthropic/anthropic-model.ts';
import type { Answer, Failure } from './answer.ts';
import { newestUserText, sha } from './conversation.ts';
import { defaultAnswer } from './default-script.ts';
import { chatDialect } from './dialects/chat-dialect.ts';
import { betasOf, type Dialect, messagesDialect } from './dialects/dialect.ts';
import { type CheckedRequest, checkRequest, Refusal } from './dialects/request-checks.ts';
import { capped } from './dialects/wire.ts';
import { createJournal, type JournalEntry } from './journal.ts';
import { NAMES } from './names.ts';
import { closed, play, waitUnlessClosed } from './playback.ts';
import { createPromptCache, promptTokens } from './prompt-cache.ts';
import { lostThinking, ScriptError, scriptedAnswer } from './script.ts';
import { summaryAnswer } from './summary.ts';

export const FAKE_MODEL_ID = NAMES.modelId[0];
const MODEL_PATHS: ReadonlySet<string> = new Set(NAMES.modelId.map((id) => `/v1/models/${id}`));
const JOURNAL_PATHS: ReadonlySet<string> = new Set(NAMES.journal);
const BODY_MAX_BYTES = 32 * 1024 * 1024;
const ATTEMPTS_MAX = 10_000;
const PING_INTERVAL_MS = 10_000;
const JOURNAL_LIMIT_DEFAULT = 100;
const MODEL = {
  type: 'model',
  id: FAKE_MODEL_ID,
  display_name: 'Manyhands fake model (scripted)',
  created_at: '2026-01-01T00:00:00Z',
  lifecycle: 'active',
  max_input_tokens: 200_000,
  max_tokens: 64_000,
};
const CHAT_MODEL = { id: FAKE_MODEL_ID, object: 'model', created: Date.parse(MODEL.created_at) / 1000, owned_by: 'manyhands' };
const DIALECTS: Readonly<Record<string, Dialect>> = { '/v1/messages': messagesDialect, '/v1/chat/completions': chatDialect };

export interface FakeModelOptions {
  /** 0 takes any free port. */
  port: number;
  /** The address to listen on; 127.0.0.1 if not given. */
  host?: string;
  clock?: Clock;
  pingIntervalMs?: number;
  /** Tokens that a prompt may have; by default any number. A step of a script may ask for less. */
  contextWindow?: number;
}
export interface FakeModel {
  url: string;
  close(): Promise<void>;
}

/** The system's time with fractions of a millisecond, for the journal. */
const preciseClock: Clock = { now: () => performance.timeOrigin + performance.now() };

export async function startFakeModel(options: FakeModelOptions): Promise<FakeModel> {
  const { clock = preciseClock, pingIntervalMs = PING_INTERVAL_MS, contextWindow = Number.POSITIVE_INFINITY } = options;
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

  async function converse(
    dialect: Dialect,
    { req, res, entry, text }: { req: IncomingMessage; res: ServerResponse; entry: JournalEntry; text: string },
  ): Promise<void> {
    const exchange = dialect.open(req, parseBody(text));
    const { request } = exchange;
    const answer = capped(decide(request, dialect), request.maxTokens);
    entry.source = answer.source;
    entry.step = answer.step;
    const window = Math.min(contextWindow, answer.contextWindow ?? contextWindow);
    // Counting a long prompt costs more than answering it.
    const tokens = window === Number.POSITIVE_INFINITY ? 0 : promptTokens(request);
    if (tokens > window) throw dialect.tooLong(tokens, window);
    const seed = sha(text);
    let failure: Failure | null = null;
    if (answer.failure) {
      entry.attempt = countAttempt(`${entry.session} ${seed}`);
      if (entry.attempt <= answer.failure.times) failure = answer.failure.how;
    }
    if (answer.pace.delayMs > 0 && !(await waitUnlessClosed(res, answer.pace.delayMs))) return finish(entry, 'closed');
    if (failure?.type === 'status') {
      if (failure.retryAfterSeconds !== null) res.setHeader('retry-after', String(failure.retryAfterSeconds));
      throw new Refusal(failure.status, failure.errorType, failure.message);
    }
    const fault = failure?.fault ?? null;
    if (fault === 'hang') {
      await closed(res);
      return finish(entry, fault);
    }
    const usage = cache.account(request);
    entry.status = 200;
    const onFirstByte = () => {
      entry.first_byte_at_ms = clock.now();
    };
    if (request.stream) {
      const { pace } = answer;
      const frames = exchange.frames(answer, seed, usage);
      return finish(entry, await play(res, { frames, signs: dialect.signs, pace, fault, pingIntervalMs, onFirstByte }));
    }
    const whole = exchange.whole(answer, seed, usage);
    onFirstByte();
    if (fault === 'cut') res.destroy();
    else if (fault === 'error_event') throw new Refusal(529, 'overloaded_error', 'scripted overload');
    else if (fault === 'malformed' || fault === 'end')
      res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(whole).slice(0, -10));
    else if (fault === null) json(res, 200, whole);
    // A stall ends when the client gives up.
    if (fault === 'stall') await closed(res);
    finish(entry, fault ?? 'answered');
  }

  function finish(entry: JournalEntry, outcome: string): void {
    entry.outcome = outcome;
    entry.ended_at_ms = clock.now();
  }

  function refuse(res: ServerResponse, entry: JournalEntry | null, dialect: Dialect, refusal: Refusal): void {
    if (entry) {
      entry.status = refusal.status;
      finish(entry, 'refused');
    }
    json(res, refusal.status, dialect.refusal(refusal, String(res.getHeader('request-id'))));
  }

  async function route(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const receivedAtMs = clock.now();
    requests += 1;
    res.setHeader('request-id', `req_fake${String(requests).padStart(9, '0')}`);
    const url = new URL(req.url ?? '/', 'http://fake-model');
    let entry: JournalEntry | null = null;
    const dialect = dialectOf(req, url.pathname);
    try {
      if (JOURNAL_PATHS.has(url.pathname)) return journalRoute(req, res, url);
      checkKey(req, dialect);
      if (req.method === 'POST' && (DIALECTS[url.pathname] || url.pathname === '/v1/messages/count_tokens')) {
        const text = await readBody(req);
        const session = req.headers[SESSION_HEADER];
        entry = journal.open(typeof session === 'string' ? session : null, url.pathname, receivedAtMs, text);
        if (DIALECTS[url.pathname]) return await converse(dialect, { req, res, entry, text });
        json(res, 200, { input_tokens: promptTokens(checkRequest(parseBody(text), { counting: true, betas: betasOf(req) })) });
        entry.status = 200;
        return finish(entry, 'answered');
      }
      const chat = dialect === chatDialect;
      if (req.method === 'GET' && url.pathname === '/v1/models')
        return json(
          res,
          200,
          chat ? { object: 'list', data: [CHAT_MODEL] } : { data: [MODEL], has_more: false, first_id: MODEL.id, last_id: MODEL.id },
        );
      if (req.method === 'GET' && MODEL_PATHS.has(url.pathname)) return json(res, 200, chat ? CHAT_MODEL : MODEL);
      throw new Refusal(404, 'not_found_error', `${req.method} ${url.pathname} is not served by the fake model`);
    } catch (error) {
      // A client that went away while it was still sending ends up here too; nobody reads this answer then.
      const refusal =
        error instanceof Refusal ? error : new Refusal(500, 'api_error', `the fake model failed: ${ensureError(error).message}`);
      if (res.headersSent) res.destroy();
      else refuse(res, entry, dialect, refusal);
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
    server.listen(options.port, options.host ?? '127.0.0.1', resolve);
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

function decide(request: CheckedRequest, dialect: Dialect): Answer {
  const user = newestUserText(request.runs);
  if (!user) throw new Refusal(400, 'invalid_request_error', 'messages: the fake model needs a text of the user');
  try {
    const lost = dialect.thinkingComesBack ? lostThinking(request.runs, user) : null;
    if (lost !== null)
      throw new Refusal(
        400,
        'invalid_request_error',
        `messages.${lost}: Expected \`thinking\` or \`redacted_thinking\`, but found \`tool_use\`. The thinking before a tool call must come back with its result.`,
      );
    return summaryAnswer(request.runs, user) ?? scriptedAnswer(request.runs, user) ?? defaultAnswer(request.runs, user, request.tools);
  } catch (error) {
    if (error instanceof ScriptError) throw new Refusal(400, 'invalid_request_error', error.message);
    throw error;
  }
}

/** By the route; what both protocols have is told apart by the header that only one of them sends. */
function dialectOf(req: IncomingMessage, pathname: string): Dialect {
  const own = DIALECTS[pathname];
  if (own) return own;
  return req.headers['anthropic-version'] === undefined && req.headers.authorization !== undefined ? chatDialect : messagesDialect;
}

function checkKey(req: IncomingMessage, dialect: Dialect): void {
  const chat = dialect === chatDialect;
  if (!req.headers.authorization && (chat || !req.headers['x-api-key']))
    throw new Refusal(401, 'authentication_error', `${chat ? 'authorization' : 'x-api-key'} header is required`);
  if (!chat && !req.headers['anthropic-version']) throw new Refusal(400, 'invalid_request_error', 'anthropic-version: header is required');
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
