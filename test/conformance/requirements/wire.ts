/** HTTP, bodies, limits, SDK generations. */
import type { Requirement } from './requirement.ts';

export const WIRE = {
  'http.auth.ways': { source: 'CONTRACT 8 F', promise: 'a key may come as bearer or as x-api-key, from old and new SDKs' },
  'http.auth.required': { source: 'I12', promise: 'no endpoint, built or not, answers without a good key, and no refusal repeats the key' },
  'http.auth.workspace': { source: 'CONTRACT 0.2', promise: 'a workspace header must name the workspace of the key' },
  'http.foreign': { source: 'I12', promise: 'what belongs to another workspace does not exist and cannot be touched' },
  'http.not_built': { source: 'issue 2', promise: 'endpoints and methods that are not built are a 404 that is not tried again' },
  'http.malformed_ids': { source: 'CONTRACT 8 M', promise: 'a malformed id is as unknown as an unknown one' },
  'http.body.json': {
    source: 'CONTRACT 5',
    promise: 'a body that is broken, missing, no object or of another type is refused with a reason',
  },
  'http.body.limit': { source: 'CONTRACT 5.2', promise: 'a body over 32 MB is a 413 and nothing is stored' },
  'http.body.none': { source: 'CONTRACT 0.1', promise: 'requests without fields take no body, an empty one or {}, and refuse a field' },
  'http.query': {
    source: 'CONTRACT 0.1, 8 D',
    promise: 'beta is ignored, empty means absent, lists come in both spellings, unknown names are refused everywhere',
  },
  'http.generations': { source: 'CONTRACT 8 E, F', promise: 'any API version and beta header is accepted' },
  'http.announcement': { source: 'CONTRACT 8 N', promise: 'shapes of the announcement are refused and the current shape is shown' },
  'http.request_id': { source: 'CONTRACT 0.3', promise: 'every answer carries a request id of its own' },
  'http.fuzz': { source: 'CONTRACT 5', promise: 'no path and body is answered with anything but a documented refusal' },
  'edge.bodies': {
    source: 'CONTRACT 5.2, 5.3',
    promise: 'a body too large, compressed, in another charset or not in UTF-8 has its status, type and code, chunked or announced',
  },
  'edge.json': {
    source: 'CONTRACT 5',
    promise: 'of a body that is no JSON the place is told; deep, endless and prototype-changing ones are refused',
  },
  'edge.order': {
    source: 'CONTRACT 0.3, issue 4',
    promise: 'what is not even HTTP is answered in the envelope, behind the answers before it, under an id that the log has',
  },
  'edge.fuzz.http': { source: 'issue 4', promise: 'damaged requests get a refusal or a valid answer, and change nothing' },
  'edge.fuzz.stream': {
    source: 'issue 4, CONTRACT 8 B, 8 D',
    promise: 'whatever query and headers the stream route is asked with, it opens or refuses, and changes nothing',
  },
  'edge.fuzz.json': { source: 'issue 4', promise: 'damaged JSON is refused or means what it says, and changes nothing' },
  'limits.rate': {
    source: 'CONTRACT 8 P, BEHAVIOUR 27',
    promise: 'two gateways under load let through what one limit holds; the rest is a 429 with retry-after that the SDK knows',
  },
  'limits.rate.apart': {
    source: 'CONTRACT 8 P, BEHAVIOUR 27',
    promise: 'reading goes on when no more may be changed, operators are not limited, and the limit outlives its gateways',
  },
  'limits.rate.off': { source: 'CONTRACT 8 P', promise: 'unless asked for, there is no limit and no header of one' },
  'bodies.agents': {
    source: 'issue 4',
    promise: 'any valid agent and any valid changes of it come back as they were meant, versions counted',
  },
  'bodies.environments': { source: 'issue 4', promise: 'any valid environment and any valid changes of it come back as they were meant' },
  'bodies.sessions': { source: 'issue 4', promise: 'any valid session, with overrides, messages and changes, comes back as it was meant' },
  'bodies.refused': {
    source: 'issue 4',
    promise: 'a body wrong in one place is a 400 that names the place, and nothing stored is another',
  },
  'http.ids': { source: 'CONTRACT 0.5', promise: 'every id begins with the prefix of its kind, every time is RFC 3339 in UTC' },
  'http.pages': { source: 'CONTRACT 8.1', promise: 'a page has 20 items unless asked and at most 100, of events at most 1000' },
  'legacy.requests': {
    source: 'CONTRACT 8 F',
    promise: 'the SDK from before 1.0 is answered: its key as x-api-key, ?beta=true, and the API version of its time',
  },
  'legacy.agents': { source: 'CONTRACT 8 F', promise: 'the old SDK makes, changes, versions, lists and archives agents' },
  'legacy.environments': { source: 'CONTRACT 8 F', promise: 'the old SDK makes, changes, lists, archives and deletes environments' },
  'legacy.sessions': {
    source: 'CONTRACT 8 F',
    promise: 'the old SDK makes, changes, lists, archives and deletes sessions, and reads their threads',
  },
  'legacy.files': {
    source: 'CONTRACT 8 F',
    promise: 'the old SDK uploads, downloads and deletes files and mounts them in sessions; of a list of files it sees the first page',
  },
  'legacy.models': { source: 'CONTRACT 8 F', promise: 'the old SDK lists models, and is told of one that there is not' },
  'legacy.errors': { source: 'CONTRACT 8 F', promise: 'refusals are the error classes of the old SDK' },
  'legacy.stream.kinds': {
    source: 'CONTRACT 8 A',
    promise: 'which kinds of events the streams of the old SDK drop is known, and nothing that ends or blocks a turn is among them',
  },
  'legacy.turn': {
    source: 'CONTRACT 8 F, 8 A',
    promise: 'the old SDK sends messages, follows the stream in order, and lists everything, kinds that its streams drop too',
  },
  'legacy.interrupt': { source: 'CONTRACT 8 F', promise: 'the old SDK interrupts a turn' },
  'legacy.confirmations': { source: 'CONTRACT 8 F', promise: 'the old SDK allows and denies the calls that wait for it' },
  'legacy.runner': { source: 'CONTRACT 8 F, 6.3', promise: 'the session tool runner of the old SDK serves custom tools' },
} as const satisfies Record<string, Requirement>;
