/** Agents, environments, models, keys, and what serves operators. */
import type { Requirement } from './requirement.ts';

export const RESOURCES = {
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
    source: 'CONTRACT EN-1, EN-2, 8 C',
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
  'environments.delete.race': {
    source: 'CONTRACT EN-5',
    promise: 'of a deletion and sessions that begin at the same time, either the environment stays or none of the sessions is made',
  },
  'board.jobs': { source: 'issue 2', promise: 'a job on the queue board shows its session, attempt, phase and last log lines' },
  'models.routes': {
    source: 'issue 4',
    promise: 'a model behind a chat completions endpoint runs a session with tools, beside models behind the Messages API',
  },
} as const satisfies Record<string, Requirement>;
