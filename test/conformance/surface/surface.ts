/** The whole surface with its standing, and what the SDKs say of it: what the report and the document are made of. */
import { loadDeclarations } from '../declarations/load.ts';
import { type Answer, type Declarations, kindsOf, membersOf, pathPattern } from '../declarations/shape.ts';
import { ENDPOINTS, type Endpoint } from './endpoints.ts';
import { kindsOnLegacyStreams } from './legacy-streams.ts';
import { RULE_GROUPS, type Rule, type RuleGroup } from './rules.ts';
import { type Standing, standingOfEndpoint, standingOfKind, standingOfRule } from './states.ts';

export interface EndpointRow {
  endpoint: Endpoint;
  standing: Standing;
  /** `beta.agents.create` */
  call: string;
  /** Whether the old SDK has it. */
  isLegacy: boolean;
}
export interface KindRow {
  kind: string;
  from: 'client' | 'server' | 'stream only';
  standing: Standing;
  /** Whether a stream of the old SDK lets it through. */
  isOnLegacyStreams: boolean;
}
export interface RuleRow {
  rule: Rule;
  group: RuleGroup;
  standing: Standing;
}
export interface Surface {
  versions: { current: string; legacy: string };
  endpoints: readonly EndpointRow[];
  kinds: readonly KindRow[];
  rules: readonly RuleRow[];
}

export async function readSurface(): Promise<Surface> {
  const [current, legacy] = await Promise.all([loadDeclarations('current'), loadDeclarations('legacy')]);
  const legacyRoutes = new Set(legacy.routes.map(({ method, path }) => `${method} ${path}`));
  const endpoints = ENDPOINTS.map((endpoint): EndpointRow => {
    const pattern = pathPattern(endpoint.path);
    const calls = current.routes.filter(({ method, path }) => method === endpoint.method && path === pattern).map(({ call }) => call);
    return {
      endpoint,
      standing: standingOfEndpoint(endpoint),
      call: calls.find((call) => call.startsWith('beta.')) ?? calls[0] ?? '',
      isLegacy: legacyRoutes.has(`${endpoint.method} ${pattern}`),
    };
  });

  const told = kindsOf(shapeOf(answerOf(current, 'beta.sessions.events.stream')), current.shapes);
  const stored = new Set(itemKinds(answerOf(current, 'beta.sessions.events.list'), current));
  const sent = new Set(itemKinds(answerOf(current, 'beta.sessions.events.send'), current));
  const onLegacyStreams = new Set(await kindsOnLegacyStreams(told));
  const kinds = told.map(
    (kind): KindRow => ({
      kind,
      from: sent.has(kind) ? 'client' : stored.has(kind) ? 'server' : 'stream only',
      standing: standingOfKind(kind),
      isOnLegacyStreams: onLegacyStreams.has(kind),
    }),
  );
  const order = ['client', 'server', 'stream only'];
  return {
    versions: { current: current.version, legacy: legacy.version },
    endpoints,
    kinds: kinds.toSorted((a, b) => order.indexOf(a.from) - order.indexOf(b.from) || a.kind.localeCompare(b.kind, 'en')),
    rules: RULE_GROUPS.flatMap((group) => group.rules.map((rule): RuleRow => ({ rule, group, standing: standingOfRule(rule) }))),
  };
}

function answerOf({ routes }: Declarations, call: string): Answer {
  const found = routes.find((route) => route.call === call);
  if (!found) throw new Error(`the SDK has no ${call}`);
  return found.answer;
}

function shapeOf(answer: Answer) {
  if (answer.kind === 'bytes') throw new Error('bytes have no shape');
  return answer.shape;
}

/** The kinds of what is in `data`. */
function itemKinds(answer: Answer, { shapes }: Declarations): string[] {
  return membersOf(shapeOf(answer), shapes).flatMap((body) => {
    const data = body.kind === 'object' ? body.fields['data']?.shape : undefined;
    return data?.kind === 'array' ? kindsOf(data.of, shapes) : [];
  });
}
