/**
 * Everything the gateway answers to a test is looked at on its way, whoever asked: bodies, refusals and the frames of streams are checked against
 * the declarations of the current SDK, and what a client of the old SDK gets also against those of its own. What is seen is kept for the report.
 * A stream is read only as fast as the test reads it.
 */
import { createDeclared, type Declared, type Target } from './declarations/declared.ts';
import { loadDeclarations, type Sdk } from './declarations/load.ts';
import { pathPattern } from './declarations/shape.ts';
import { createFrameReader, type Frame } from './frames.ts';
import { ENDPOINTS } from './surface/endpoints.ts';

/** What a test has seen of the gateway; it travels to the report with the result of the test. */
export interface Seen {
  /** `AG-1 current 200`: endpoint, who asked, status. */
  answers: string[];
  /** Kinds of events in lists and on streams. */
  kinds: string[];
  /** Names of the owned extras that were met. */
  owned: string[];
}
/** Who asked: one of the SDKs, or a request made by hand. */
export type Asker = Sdk | 'raw';

const USER_AGENTS: readonly [RegExp, Sdk][] = [
  [/^Anthropic\/JS 1\./, 'current'],
  [/^Anthropic\/JS 0\./, 'legacy'],
];
const EVENT_LISTS = new Set(['EV-1', 'EV-2', 'TE-1']);
const SHOWN_PROBLEMS = 20;
const idOf = new Map(ENDPOINTS.map(({ id, method, path }) => [`${method} ${pathPattern(path)}`, id]));

const answers = new Set<string>();
const kinds = new Set<string>();
const owned = new Set<string>();
const problems = new Set<string>();

/** What was seen since this was asked last, and what was wrong with it. */
export function takeSeen(): { seen: Seen; problems: string[] } {
  const seen = { answers: [...answers], kinds: [...kinds], owned: [...owned] };
  const wrong = [...problems].slice(0, SHOWN_PROBLEMS);
  for (const set of [answers, kinds, owned, problems]) set.clear();
  return { seen, problems: wrong };
}

/** Reads the declarations, so that the first answer does not wait for it. */
export async function prepareToWatch(): Promise<void> {
  await Promise.all([declared('current'), declared('legacy')]);
}
const declared = async (sdk: Sdk) => createDeclared(await loadDeclarations(sdk), sdk, (name) => owned.add(name));

/** `fetch` for whatever asks a gateway. */
export const watchedFetch: typeof fetch = (input, init) => watch(fetch)(input, init);

export function watch(inner: typeof fetch): typeof fetch {
  return async (input, init) => {
    const response = await inner(input, init);
    const method = (init?.method ?? 'GET').toUpperCase();
    const { pathname } = new URL(input instanceof Request ? input.url : input);
    if (!pathname.replace(/^\/+/, '/').startsWith('/v1/') || method === 'HEAD') return response;
    const agent = new Headers(init?.headers).get('user-agent') ?? '';
    const asker: Asker = USER_AGENTS.find(([pattern]) => pattern.test(agent))?.[1] ?? 'raw';
    return inspect(response, method, pathname, asker);
  };
}

/** A body that came some other way. */
export async function watchRefusal(status: number, contentType: string, text: string): Promise<void> {
  const { checkRefusal } = await declared('current');
  note(`${status}`, jsonProblems(contentType, text, checkRefusal));
}

async function inspect(response: Response, method: string, pathname: string, asker: Asker): Promise<Response> {
  const sdks: Sdk[] = asker === 'legacy' ? ['current', 'legacy'] : ['current'];
  const known = (await Promise.all(sdks.map(declared))).map((each) => ({ declared: each, target: each.target(method, pathname) }));
  const { status, ok, headers } = response;
  const place = `${method} ${pathname} → ${status}`;
  const target = known[0]?.target ?? null;
  const id = target === null ? null : (idOf.get(target.key) ?? null);
  if (id !== null) answers.add(`${id} ${asker} ${status}`);
  const contentType = headers.get('content-type') ?? '';
  if (ok && target === null) {
    if (!pathname.startsWith('/v1/manyhands/')) note(place, ['the SDK has no such endpoint']);
    return response;
  }
  if (ok && target?.routes.some(({ answer }) => answer.kind === 'bytes')) return response;
  if (ok && response.body !== null && target?.routes.some(({ answer }) => answer.kind === 'stream')) {
    const look = (frame: Frame) => {
      for (const each of known) note(place, frameProblems(each.declared, each.target, frame));
    };
    return withBody(response, response.body.pipeThrough(frameWatch(look)));
  }
  const text = await response.text();
  note(
    place,
    jsonProblems(contentType, text, (body) => {
      if (ok && id !== null && EVENT_LISTS.has(id)) for (const kind of kindsIn(body)) kinds.add(kind);
      return known.flatMap((each) => {
        if (!ok) return each.declared.checkRefusal(body);
        return each.target === null ? [] : each.declared.checkBody(each.target, body);
      });
    }),
  );
  return withBody(response, text);
}

/** Of the events of a list; what is no such list is a problem that others tell. */
function kindsIn(body: unknown): string[] {
  const { data } = (body ?? {}) as { data?: unknown };
  return Array.isArray(data)
    ? data.flatMap((event: { type?: unknown } | null) => (typeof event?.type === 'string' ? [event.type] : []))
    : [];
}

function note(place: string, found: readonly string[]): void {
  for (const problem of found) problems.add(`${place}: ${problem}`);
}

function jsonProblems(contentType: string, text: string, checkBody: (body: unknown) => string[]): string[] {
  if (!/^application\/json\b/.test(contentType)) return [`the content type is ${JSON.stringify(contentType)}`];
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return [`the body is no JSON: ${JSON.stringify(text.slice(0, 80))}`];
  }
  return checkBody(body);
}

function frameProblems({ checkEvent, checkRefusal }: Declared, target: Target | null, { event, data }: Frame): string[] {
  if (event === 'ping' || target === null) return [];
  return jsonProblems('application/json', data, (body) => {
    if (event === 'error') return checkRefusal(body);
    const { type } = (body ?? {}) as { type?: unknown };
    if (event !== type) return [`a frame named ${event} holds ${JSON.stringify(type)}`];
    kinds.add(event as string);
    return checkEvent(target, body);
  });
}

/** Passes a stream on as it comes, and tells its frames. */
function frameWatch(onFrame: (frame: Frame) => void): TransformStream<Uint8Array, Uint8Array> {
  const reader = createFrameReader();
  const decoder = new TextDecoder();
  return new TransformStream({
    transform(chunk, controller) {
      controller.enqueue(chunk);
      for (const frame of reader.read(decoder.decode(chunk, { stream: true }))) onFrame(frame);
    },
  });
}

function withBody({ status, statusText, headers, url }: Response, body: ReadableStream<Uint8Array> | string): Response {
  const copy = new Response(body === '' ? null : body, { status, statusText, headers });
  Object.defineProperty(copy, 'url', { value: url });
  return copy;
}
