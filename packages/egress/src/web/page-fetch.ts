/**
 * `web_fetch`: one GET on behalf of a session, as text, or as a document where it is a PDF (DESIGN 7; BEHAVIOUR 9).
 *
 * The agent's domain lists and the addresses of every hop are checked, and the connection is pinned to them, like those of the proxy; redirects
 * are followed by hand for that reason. Sends no cookie, no credential and no referrer. The environment's networking does not apply: it is about sandboxes.
 */

import type { Clock, Logger } from '@manyhands/base';
import { DOCUMENT_MAX_BYTES, DOCUMENT_MAX_PAGES, type FetchReply, type FetchRequest, pdfProblem } from '@manyhands/contract';
import { Agent, type Dispatcher, request as send } from 'undici';
import type { EgressMetrics } from '../metrics.ts';
import { type Connector, ReachError } from '../proxy/connector.ts';
import { type Target, urlTarget } from '../proxy/target.ts';
import { decodeText, isHtmlType, isTextType, mediaType, readBody } from './body-text.ts';
import { allowedByDomains } from './domain-rules.ts';
import type { HeldBodies } from './held-bodies.ts';
import { pageText } from './page-text.ts';

const TOTAL_TIMEOUT_MS = 20_000;
const REDIRECTS_MAX = 5;
const URL_MAX_CHARS = 8_000;
/** Markup is longer than its text, so more is read than may be answered. */
const HTML_MAX_BYTES = 4 * 1024 * 1024;
const FETCHES_AT_ONCE = 64;
const PDF_TYPE = 'application/pdf';
const REDIRECT_STATUS = new Set([301, 302, 303, 307, 308]);
const HEADERS = {
  'user-agent': 'Manyhands-web-fetch/1.0',
  accept: 'text/html,application/xhtml+xml,application/json,application/pdf,text/plain;q=0.9,text/*;q=0.8,*/*;q=0.1',
  'accept-encoding': 'gzip, deflate, br',
};

type Failure = Extract<FetchReply, { ok: false }>;

export interface PageFetch {
  /** Never rejects. */
  fetch(request: FetchRequest): Promise<FetchReply>;
}

export interface PageFetchDeps {
  connector: Connector;
  log: Logger;
  clock: Clock;
  metrics: EgressMetrics;
  /** Where documents wait to be read. */
  bodies: HeldBodies;
  /** Size in bytes that the JSON of a reply must not exceed. */
  maxReplyBytes: number;
  timeoutMs?: number;
}

export function createPageFetch(deps: PageFetchDeps): PageFetch {
  const { connector, log, clock, metrics, bodies, maxReplyBytes, timeoutMs = TOTAL_TIMEOUT_MS } = deps;
  let underWay = 0;

  async function run(request: FetchRequest, signal: AbortSignal): Promise<{ reply: FetchReply; host: string | null }> {
    let url = request.url;
    let host: string | null = null;
    for (let hop = 0; hop <= REDIRECTS_MAX; hop++) {
      const target = url.length <= URL_MAX_CHARS ? urlTarget(url) : null;
      if (!target) return { reply: failed('url_not_allowed', 'only http and https URLs can be fetched'), host };
      host = target.host;
      const at = new URL(url);
      if (at.username !== '' || at.password !== '')
        return { reply: failed('url_not_allowed', 'a URL with credentials cannot be fetched'), host };
      if (!allowedByDomains(request, at))
        return { reply: failed('url_not_allowed', `${target.host} is outside of the domains that this agent may fetch from`), host };
      const answer = await hopTo(at, target, request.max_bytes, signal);
      if (typeof answer !== 'string') return { reply: answer, host };
      url = answer;
    }
    return { reply: failed('too_many_redirects', `more than ${REDIRECTS_MAX} redirects`), host };
  }

  /** One request: the reply, or the URL that it redirects to. */
  async function hopTo(url: URL, target: Target, maxBytes: number, signal: AbortSignal): Promise<FetchReply | string> {
    let agent: Agent;
    try {
      agent = pinnedAgent(await connector.addresses(target), timeoutMs);
    } catch (error) {
      if (!(error instanceof ReachError)) throw error;
      return error.kind === 'blocked'
        ? failed('url_not_allowed', `${target.host}: ${error.message}`)
        : failed('unreachable', `${target.host}: ${error.message}`);
    }
    try {
      // The part behind "#" is not sent.
      const answer = await send(url, { dispatcher: agent, method: 'GET', headers: HEADERS, signal });
      // A body that is dropped half-way fails with nobody reading it.
      answer.body.on('error', () => {});
      const location = headerOf(answer, 'location');
      if (REDIRECT_STATUS.has(answer.statusCode) && location !== '')
        return URL.canParse(location, url.href)
          ? new URL(location, url).href
          : failed('unreachable', `${target.host} redirects to something that is no URL`);
      return await (mediaType(headerOf(answer, 'content-type')) === PDF_TYPE ? documentOf(answer, url) : textOf(answer, url, maxBytes));
    } catch (error) {
      if (signal.aborted) return failed('unreachable', `${target.host} did not answer within ${Math.round(timeoutMs / 1000)} s`);
      log.debug({ op: 'egress.fetch', host: target.host, err: error }, 'fetch failed');
      return failed('unreachable', `${target.host} could not be reached`);
    } finally {
      await agent.destroy();
    }
  }

  async function textOf(answer: Dispatcher.ResponseData, url: URL, maxBytes: number): Promise<FetchReply> {
    const contentType = headerOf(answer, 'content-type');
    const type = mediaType(contentType);
    if (type !== '' && !isTextType(type) && !isHtmlType(type))
      return failed('unsupported_content', `the content is ${type}; only text and PDF can be fetched`);
    const html = isHtmlType(type);
    const read = await readBody(answer.body, headerOf(answer, 'content-encoding'), html ? HTML_MAX_BYTES : maxBytes);
    if (!read) return failed('unsupported_content', 'the content comes in an encoding that is not known');
    if (type === '' && read.bytes.includes(0))
      return failed('unsupported_content', 'the content is binary; only text and PDF can be fetched');
    const raw = decodeText(read.bytes, contentType);
    const text = printable(html ? pageText(raw, url.href) : raw);
    const body = clip(text, Math.min(maxBytes, maxReplyBytes - 4 * URL_MAX_CHARS));
    return {
      ok: true,
      status: answer.statusCode,
      final_url: url.href,
      content_type: type || 'text/plain',
      body,
      truncated: read.truncated || body.length < text.length,
    };
  }

  async function documentOf(answer: Dispatcher.ResponseData, url: URL): Promise<FetchReply> {
    const told = { ok: true as const, status: answer.statusCode, final_url: url.href, content_type: PDF_TYPE, body: '', truncated: false };
    // What is not there has no pages to show.
    if (answer.statusCode >= 400) return told;
    const read = await readBody(answer.body, headerOf(answer, 'content-encoding'), DOCUMENT_MAX_BYTES);
    if (!read) return failed('unsupported_content', 'the content comes in an encoding that is not known');
    if (read.truncated) return failed('too_large', `the PDF is larger than ${DOCUMENT_MAX_BYTES} bytes`);
    const problem = pdfProblem(read.bytes);
    if (problem?.kind === 'pages')
      return failed('too_large', `the PDF has ${problem.pages} pages, more than the ${DOCUMENT_MAX_PAGES} that can be shown`);
    if (problem) return failed('unsupported_content', `the PDF is ${problem.kind}`);
    const subject = bodies.hold(read.bytes);
    if (subject === null) return failed('unreachable', 'too many documents are being fetched; try again in a moment');
    return { ...told, document: { subject, bytes: read.bytes.length } };
  }

  return {
    async fetch(request) {
      const startedAt = clock.now();
      if (underWay >= FETCHES_AT_ONCE) return failed('unreachable', 'too many pages are being fetched; try again in a moment');
      underWay += 1;
      const limit = new AbortController();
      const timer = setTimeout(() => limit.abort(), timeoutMs);
      let host: string | null = null;
      let reply: FetchReply;
      try {
        ({ reply, host } = await run(request, limit.signal));
      } catch (error) {
        log.warn({ op: 'egress.fetch', err: error, sessionId: request.session_id }, 'fetch failed');
        reply = failed('unreachable', 'the page could not be fetched');
      } finally {
        clearTimeout(timer);
        underWay -= 1;
      }
      metrics.fetch.observe((clock.now() - startedAt) / 1000, { outcome: reply.ok ? 'ok' : reply.code });
      const outcome = reply.ok ? { status: reply.status } : { code: reply.code };
      log.info(
        { op: 'egress.fetch', sessionId: request.session_id, host, ok: reply.ok, ...outcome, durationMs: clock.now() - startedAt },
        'page fetched',
      );
      return reply;
    },
  };
}

function failed(code: Failure['code'], message: string): Failure {
  return { ok: false, code, message };
}

/** Connects to these addresses and no others, whatever the name says by then. */
function pinnedAgent(addresses: readonly string[], timeoutMs: number): Agent {
  const list = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  return new Agent({
    connect: {
      timeout: timeoutMs,
      lookup: (_name, options, done) => {
        if (options.all) done(null, list);
        else done(null, list[0]!.address, list[0]!.family);
      },
    },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    maxHeaderSize: 64 * 1024,
    pipelining: 0,
  });
}

function headerOf(answer: Dispatcher.ResponseData, name: string): string {
  const value = answer.headers[name];
  return (Array.isArray(value) ? value[0] : value) ?? '';
}

/** Without control characters, line breaks and tabs apart. */
function printable(text: string): string {
  return text.replace(/\r\n?/g, '\n').replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, '');
}

/** The longest beginning that has at most `maxBytes` as UTF-8, and as JSON text. */
function clip(text: string, maxBytes: number): string {
  let end = text.length;
  for (let size = sizeOf(text, end); size > maxBytes; size = sizeOf(text, end))
    end = Math.min(end - 1, Math.floor((end * maxBytes) / size));
  // Never between the halves of a character.
  return text.slice(0, end).replace(/[\ud800-\udbff]$/, '');
}
function sizeOf(text: string, end: number): number {
  return Buffer.byteLength(JSON.stringify(text.slice(0, end))) - 2;
}
