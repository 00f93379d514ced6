import type * as A from '@anthropic-ai/sdk/resources/beta/agents/agents';
import type {
  BetaManagedAgentsAgent,
  BetaManagedAgentsAgentToolset20260401,
  BetaManagedAgentsModelConfig,
} from '@anthropic-ai/sdk/resources/beta/agents/agents';
import type * as E from '@anthropic-ai/sdk/resources/beta/environments/environments';
import type * as V from '@anthropic-ai/sdk/resources/beta/sessions/events';
import type * as S from '@anthropic-ai/sdk/resources/beta/sessions/sessions';
import type * as C from '@manyhands/contract';
import type { z } from 'zod';
import type { Body, FieldGaps, KindGaps, MissingFields, Sent } from './assignable.ts';

type In<T extends z.ZodType> = Sent<z.input<T>>;
export const a1: `a1=${FieldGaps<Body<A.AgentCreateParams>, In<typeof C.AgentCreate>>}` = '' as string;
export const a2: `a2=${FieldGaps<Body<A.AgentUpdateParams>, In<typeof C.AgentUpdate>>}` = '' as string;
export const a3: `a3=${FieldGaps<Body<E.EnvironmentCreateParams>, In<typeof C.EnvironmentCreate>>}` = '' as string;
export const a4: `a4=${FieldGaps<Body<E.EnvironmentUpdateParams>, In<typeof C.EnvironmentUpdate>>}` = '' as string;
export const a5: `a5=${FieldGaps<Body<S.SessionCreateParams>, In<typeof C.SessionCreate>>}` = '' as string;
export const a6: `a6=${FieldGaps<Body<S.SessionUpdateParams>, In<typeof C.SessionUpdate>>}` = '' as string;
export const a7: `a7=${FieldGaps<Body<V.EventSendParams>, In<typeof C.EventsSend>>}` = '' as string;
export const a8: `a8=${KindGaps<V.BetaManagedAgentsEventParams, In<typeof C.ClientEventIn>>}` = '' as string;
export const b1: `b1=${FieldGaps<In<typeof C.AgentCreate>, Body<A.AgentCreateParams>>}` = '' as string;
export const b2: `b2=${FieldGaps<In<typeof C.AgentUpdate>, Body<A.AgentUpdateParams>>}` = '' as string;
export const b3: `b3=${FieldGaps<In<typeof C.EnvironmentCreate>, Body<E.EnvironmentCreateParams>>}` = '' as string;
export const b4: `b4=${FieldGaps<In<typeof C.EnvironmentUpdate>, Body<E.EnvironmentUpdateParams>>}` = '' as string;
export const b5: `b5=${FieldGaps<In<typeof C.SessionCreate>, Body<S.SessionCreateParams>>}` = '' as string;
export const b6: `b6=${FieldGaps<In<typeof C.SessionUpdate>, Body<S.SessionUpdateParams>>}` = '' as string;
export const b8: `b8=${KindGaps<In<typeof C.ClientEventIn>, V.BetaManagedAgentsEventParams>}` = '' as string;
export const c1: `c1=${FieldGaps<A.BetaManagedAgentsAgentToolset20260401Params, In<typeof C.AgentToolsetIn>>}` = '' as string;
export const c2: `c2=${FieldGaps<In<typeof C.AgentToolsetIn>, A.BetaManagedAgentsAgentToolset20260401Params>}` = '' as string;
export const c3: `c3=${KindGaps<V.BetaManagedAgentsSessionEvent, C.SessionEvent>}` = '' as string;
export const c4: `c4=${KindGaps<C.SessionEvent, V.BetaManagedAgentsSessionEvent>}` = '' as string;
export const c5: `c5=${KindGaps<C.PreviewEvent, V.BetaManagedAgentsStreamSessionEvents>}` = '' as string;
export const c6: `c6=${KindGaps<V.BetaManagedAgentsStreamSessionEvents, C.SessionEvent | C.PreviewEvent>}` = '' as string;
export const d1: `d1=${MissingFields<In<typeof C.AgentCreate>, Body<A.AgentCreateParams>>}` = '' as string;
export const d2: A.BetaManagedAgentsAgentToolConfigParams['name'] = '' as string;
type TC = NonNullable<In<typeof C.AgentToolsetIn>['configs']>[number];
export const d3: {
  [N in A.BetaManagedAgentsAgentToolConfigParams['name']]: `${N}.${string & FieldGaps<Extract<A.BetaManagedAgentsAgentToolConfigParams, { name: N }>, TC>}`;
}[A.BetaManagedAgentsAgentToolConfigParams['name']] = '' as string;
export const d5: `d5=${FieldGaps<A.BetaManagedAgentsModelConfigParams, Exclude<In<typeof C.ModelIn>, string>>}` = '' as string;
export const d6: `d6=${FieldGaps<Exclude<In<typeof C.ModelIn>, string>, A.BetaManagedAgentsModelConfigParams>}` = '' as string;
export const e1: `e1=${FieldGaps<BetaManagedAgentsAgent, C.Agent>}` = '' as string;
export const e2: `e2=${FieldGaps<S.BetaManagedAgentsSession, C.Session>}` = '' as string;
export const e3: `e3=${FieldGaps<S.BetaManagedAgentsSessionAgent, C.SessionAgent>}` = '' as string;
export const e4: `e4=${FieldGaps<BetaManagedAgentsModelConfig, C.ModelConfig>}` = '' as string;
export const e5: `e5=${FieldGaps<BetaManagedAgentsAgentToolset20260401, C.AgentToolset>}` = '' as string;
export const e6: `e6=${FieldGaps<S.BetaManagedAgentsSessionUsage, C.SessionUsage>}` = '' as string;
