/** One conversation over the official SDK: set up, say, wait, read. */
import type Anthropic from '@anthropic-ai/sdk';
import { until } from '@manyhands/test-kit';

export type Event = Anthropic.Beta.Sessions.BetaManagedAgentsSessionEvent;

export async function startSession(client: Anthropic): Promise<string> {
  const agent = await client.beta.agents.create({ name: 'tester', model: 'fake', tools: [{ type: 'agent_toolset_20260401' }] });
  const environment = await client.beta.environments.create({ name: 'test', config: { type: 'cloud' } });
  const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
  return session.id;
}

export async function say(client: Anthropic, sessionId: string, text: string): Promise<void> {
  await client.beta.sessions.events.send(sessionId, { events: [{ type: 'user.message', content: [{ type: 'text', text }] }] });
}

export async function history(client: Anthropic, sessionId: string): Promise<Event[]> {
  const events: Event[] = [];
  for await (const event of client.beta.sessions.events.list(sessionId, { limit: 1000 })) events.push(event);
  return events;
}

/** Waits until the session tells idle for the n-th time and returns its history. */
export async function untilIdle(client: Anthropic, sessionId: string, timeoutMs: number, times = 1): Promise<Event[]> {
  let events: Event[] = [];
  await until(
    async () => {
      const session = await client.beta.sessions.retrieve(sessionId).catch(() => null);
      if (session?.status !== 'idle') return false;
      events = await history(client, sessionId);
      return events.filter(({ type }) => type === 'session.status_idle').length >= times;
    },
    { timeoutMs, what: `session ${sessionId} to be idle` },
  );
  return events;
}

export async function untilEvent(client: Anthropic, sessionId: string, type: string, timeoutMs = 20_000): Promise<Event[]> {
  let events: Event[] = [];
  await until(
    async () => {
      events = await history(client, sessionId).catch(() => []);
      return events.some((event) => event.type === type);
    },
    { timeoutMs, what: `a ${type} event` },
  );
  return events;
}

export function texts(events: Event[], type: 'agent.message' | 'agent.tool_result'): string[] {
  return events.flatMap((event) =>
    event.type === type ? (event.content ?? []).flatMap((block) => ('text' in block ? [block.text] : [])) : [],
  );
}

/** What holds of every history, whatever died meanwhile. Returns the problems. */
export function problems(events: Event[]): string[] {
  const found: string[] = [];
  const ids = events.map(({ id }) => id);
  if (new Set(ids).size !== ids.length) found.push('an event is listed twice');
  const times = events.map((event) => event.processed_at ?? '9999');
  if (times.some((time, i) => i > 0 && time < times[i - 1]!)) found.push('processed_at goes back');
  const open = new Set<string>();
  const uses = new Map<string, number>();
  events.forEach((event, i) => {
    if (event.type === 'span.model_request_start') open.add(event.id);
    if (event.type === 'span.model_request_end' && !open.delete(event.model_request_start_id)) found.push('a span ends that was not open');
    if (event.type === 'agent.tool_use') uses.set(event.id, 0);
    if (event.type === 'agent.tool_result') {
      if (!uses.has(event.tool_use_id)) found.push('a result without its call');
      uses.set(event.tool_use_id, (uses.get(event.tool_use_id) ?? 0) + 1);
    }
    if (event.type === 'session.status_idle' && events[i - 1]?.type !== 'session.usage')
      found.push('idle is not preceded by session.usage');
  });
  if (open.size > 0) found.push('a span is left open');
  for (const [id, results] of uses) if (results !== 1) found.push(`call ${id} has ${results} results`);
  return found;
}
