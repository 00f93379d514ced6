/**
 * What is promised, by id. `source` says where the promise comes from: an endpoint or section of the contract, an invariant of the design
 * (I1..I14), or a section of the platform's behaviour. `coverage.test.ts` fails on a promise without a scenario.
 */
export interface Requirement {
  source: string;
  promise: string;
}

export const REQUIREMENTS = {
  'agents.create.defaults': {
    source: 'CONTRACT AG-1',
    promise: 'a new agent is at version 1, with every field present and every default filled in',
  },
  'agents.create.full': { source: 'CONTRACT AG-1', promise: 'what an agent may have at most is accepted and told back resolved' },
  'agents.create.refusals': {
    source: 'CONTRACT AG-1, 8 D',
    promise: 'a wrong, missing, unknown or oversized field is named and nothing is stored',
  },
  'agents.create.not_yet': { source: 'I13', promise: 'what comes later is refused with "not supported yet" and nothing is stored' },
  'agents.create.fuzz': { source: 'I13', promise: 'whatever else is sent is a 400 that names the field, and nothing is stored' },
  'agents.retrieve.versions': {
    source: 'CONTRACT AG-2',
    promise: 'every version stays readable as it was; without one the newest is told',
  },
  'agents.versions.list': { source: 'CONTRACT AG-6', promise: 'versions are listed whole, newest first, in pages' },
  'agents.update.merge': { source: 'CONTRACT AG-3', promise: 'what is left out stays, null clears, metadata merges key by key' },
  'agents.update.model': { source: 'BEHAVIOUR 3', promise: 'the model is replaced whole, but effort stays while the id does' },
  'agents.update.no_change': { source: 'CONTRACT AG-3', promise: 'an update that changes nothing makes no version' },
  'agents.update.conflict': {
    source: 'CONTRACT 8.2',
    promise: 'a stale version is a 409 that is not tried again; without one the last update wins and none is lost',
  },
  'agents.update.refusals': { source: 'CONTRACT AG-3', promise: 'name and model cannot be cleared, and a refused update changes nothing' },
  'agents.list': {
    source: 'CONTRACT AG-4',
    promise: 'newest first, in pages, filtered by time, archived ones when asked for; a bad parameter is named',
  },
  'agents.archive': {
    source: 'CONTRACT AG-5',
    promise: 'archiving is final and may be repeated: readable, no update, no new session, no delete',
  },
  'environments.create.defaults': {
    source: 'CONTRACT EN-1, 8 C',
    promise: 'a new environment has every field present, unrestricted networking and no packages; names may repeat',
  },
  'environments.create.limited': {
    source: 'CONTRACT EN-1',
    promise: 'limited networking takes bare hosts and *.domain, its flags are off unless set',
  },
  'environments.create.refusals': {
    source: 'CONTRACT EN-1, 8 D',
    promise: 'a wrong, missing or unknown field is named and nothing is stored',
  },
  'environments.create.not_yet': {
    source: 'I13',
    promise: 'packages, self-hosted environments and account scope are refused as not supported',
  },
  'environments.update.merge': {
    source: 'CONTRACT EN-3',
    promise: 'what is left out or null inside config stays; null or "" deletes a metadata key; description keeps ""',
  },
  'environments.update.type': { source: 'CONTRACT EN-3', promise: 'the type of an environment cannot change' },
  'environments.list': { source: 'CONTRACT EN-4', promise: 'newest first, in pages; a bad parameter or foreign cursor is named' },
  'environments.delete': {
    source: 'CONTRACT EN-5, BEHAVIOUR 4',
    promise: 'an environment that no session refers to is deleted and gone; one in use is refused',
  },
  'environments.archive': {
    source: 'CONTRACT EN-6',
    promise: 'archiving is final and may be repeated: no update, no new session, listed when asked for',
  },
  'models.list': { source: 'CONTRACT MO-2', promise: 'the configured models are listed in pages, for both clients of the SDK' },
  'models.retrieve': { source: 'CONTRACT MO-1', promise: 'a model is told with every field present, an unlisted one is not found' },
  'keys.life': { source: 'CONTRACT 8 G', promise: 'a key is shown once, works until it is revoked, and never again' },
  'keys.scope': { source: 'I12', promise: 'only operators reach keys and the board' },
  'keys.refusals': { source: 'CONTRACT 8 D, I12', promise: 'wrong fields are named, and keys of another workspace do not exist' },
  'health.open': { source: 'I12', promise: 'health checks answer without a key, and readiness tells of a storage that does not answer' },
  'board.operator': { source: 'DESIGN 8', promise: 'the queue board opens for an operator by bearer or basic, read-only' },
  'http.auth.ways': { source: 'CONTRACT 8 F', promise: 'a key may come as bearer or as x-api-key, from old and new SDKs' },
  'http.auth.required': { source: 'I12', promise: 'no endpoint, built or not, answers without a good key, and no refusal repeats the key' },
  'http.auth.workspace': { source: 'CONTRACT 0.2', promise: 'a workspace header must name the workspace of the key' },
  'http.foreign': { source: 'I12', promise: 'what belongs to another workspace does not exist and cannot be touched' },
  'http.not_built': { source: 'issue 2', promise: 'endpoints and methods that are not built are a 404 that is not tried again' },
  'http.malformed_ids': { source: 'CONTRACT 8 M', promise: 'a malformed id is as unknown as an unknown one' },
  'http.body.json': { source: 'CONTRACT 5', promise: 'a body that is broken, missing, no object or of another type is refused with a reason' },
  'http.body.limit': { source: 'CONTRACT 5.2', promise: 'a body over 32 MB is a 413 and nothing is stored' },
  'http.body.none': { source: 'CONTRACT 0.1', promise: 'requests without fields take no body, an empty one or {}, and refuse a field' },
  'http.query': { source: 'CONTRACT 0.1, 8 D', promise: 'beta is ignored, empty means absent, lists come in both spellings, unknown names are refused everywhere' },
  'http.generations': { source: 'CONTRACT 8 E, F', promise: 'any API version and beta header is accepted' },
  'http.announcement': { source: 'CONTRACT 8 N', promise: 'shapes of the announcement are refused and the current shape is shown' },
  'http.request_id': { source: 'CONTRACT 0.3', promise: 'every answer carries a request id of its own' },
  'http.fuzz': { source: 'CONTRACT 5', promise: 'no path and body is answered with anything but a documented refusal' },
} as const satisfies Record<string, Requirement>;
export type RequirementId = keyof typeof REQUIREMENTS;
