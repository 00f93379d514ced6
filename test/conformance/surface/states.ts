/**
 * What is supported, derived: from the promises that cite an endpoint or a rule, and from the gaps that the type tests hold against the SDK
 * (`types/`, checked by the compiler). No state is written by hand.
 */
import { REQUIREMENTS, type Requirement, type RequirementId } from '../requirements.ts';
import { KINDS_NOT_YET, NARROWER_KINDS } from '../types/events.ts';
import {
  AGENT_CREATE_GAPS,
  AGENT_UPDATE_GAPS,
  CLOUD_CONFIG_REFUSED,
  ENVIRONMENT_CREATE_GAPS,
  ENVIRONMENT_UPDATE_GAPS,
  EVENT_GAPS,
  SESSION_CREATE_GAPS,
  SESSION_UPDATE_GAPS,
} from '../types/requests.ts';
import { ALWAYS_REFUSED, ENDPOINTS, type Endpoint } from './endpoints.ts';
import type { Rule } from './rules.ts';

/** A rule is promised as far as its promises go; endpoints and events are supported, in whole or in part. */
export type State = 'supported' | 'promised' | 'partly' | 'not yet';
export interface Standing {
  state: State;
  /** The features that would make it whole. */
  waitsFor: readonly string[];
  promises: readonly RequirementId[];
}
type Gaps = Readonly<Record<string, { closedBy: string }>>;

/** What a request may not say yet. */
const REQUEST_GAPS: Readonly<Record<string, readonly Gaps[]>> = {
  'AG-1': [AGENT_CREATE_GAPS],
  'AG-3': [AGENT_UPDATE_GAPS],
  'EN-1': [ENVIRONMENT_CREATE_GAPS, CLOUD_CONFIG_REFUSED],
  'EN-3': [ENVIRONMENT_UPDATE_GAPS, CLOUD_CONFIG_REFUSED],
  'SE-1': [SESSION_CREATE_GAPS],
  'SE-3': [SESSION_UPDATE_GAPS],
  'EV-2': [EVENT_GAPS],
};

/** `CONTRACT SE-3, 8 E, F, I13` → `CONTRACT SE-3`, `CONTRACT 8 E`, `CONTRACT 8 F`, `I13` */
export function citationsOf(source: string): string[] {
  let book = '';
  return source.split(', ').map((part) => {
    if (/^I\d+$/.test(part)) return part;
    const [, named, place = part] = /^([A-Za-z]{2,}) (.+)$/.exec(part) ?? [];
    book = named ?? book;
    return `${book} ${/^[A-Z]$/.test(place) ? `8 ${place}` : place}`;
  });
}

const promises = Object.entries<Requirement>(REQUIREMENTS).map(([id, { source }]) => ({
  id: id as RequirementId,
  cited: citationsOf(source),
}));

/** `CONTRACT 5` is a citation of `CONTRACT 5.2` and `CONTRACT 8 D` one of `CONTRACT 8`, but `I1` none of `I10`. */
function isBelow(citation: string, place: string): boolean {
  return citation === place || citation.startsWith(`${place}.`) || citation.startsWith(`${place} `);
}

export function standingOfEndpoint({ id, group }: Endpoint): Standing {
  const own = promises.filter(({ cited }) => cited.includes(`CONTRACT ${id}`)).map((promise) => promise.id);
  if (own.length === 0) return { state: 'not yet', waitsFor: [group.feature], promises: [] };
  return standing(
    [...(REQUEST_GAPS[id] ?? []).flatMap(featuresOf), ...(ALWAYS_REFUSED[id] === undefined ? [] : [ALWAYS_REFUSED[id]])],
    own,
  );
}

export function standingOfKind(kind: string): Standing {
  const missing = (KINDS_NOT_YET as Gaps)[kind];
  if (missing) return { state: 'not yet', waitsFor: [missing.closedBy], promises: [] };
  const narrower = (NARROWER_KINDS as Gaps)[kind];
  return standing(narrower ? featuresOf({ narrower }) : [], []);
}

export function standingOfRule({ cites, feature }: Rule): Standing {
  const own = promises.filter(({ cited }) => cited.some((citation) => isBelow(citation, cites))).map(({ id }) => id);
  if (own.length === 0) return { state: 'not yet', waitsFor: feature === undefined ? [] : [feature], promises: [] };
  return { state: 'promised', waitsFor: [], promises: own };
}

/** Endpoints that promises cite and that are in no list. */
export function unknownCitations(): string[] {
  const known = new Set(ENDPOINTS.map(({ id }) => `CONTRACT ${id}`));
  return promises.flatMap(({ id, cited }) =>
    cited.filter((citation) => /^CONTRACT [A-Z]{2}-/.test(citation) && !known.has(citation)).map((citation) => `${id}: ${citation}`),
  );
}

function standing(waitsFor: readonly string[], own: readonly RequirementId[]): Standing {
  return { state: waitsFor.length === 0 ? 'supported' : 'partly', waitsFor: [...new Set(waitsFor)], promises: own };
}

function featuresOf(gaps: Gaps): string[] {
  const named = Object.values(gaps).flatMap(({ closedBy }) => closedBy.split('; '));
  // "nothing: an answer may say more than it must" is no gap that a client meets.
  return named.filter((feature) => !feature.startsWith('nothing'));
}
