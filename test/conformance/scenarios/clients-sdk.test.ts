/** The SDK's own helpers for sessions, unmodified: the accumulator of previews and the session tool runner. */
import type { DispatchedToolCall } from '@anthropic-ai/sdk/helpers/beta/environments';
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';
import type { SessionToolRunner } from '@anthropic-ai/sdk/lib/tools/SessionToolRunner';
import { until } from '@manyhands/test-kit';
import { describe, expect } from 'vitest';
import { createPreviews } from '../../e2e/clients/previews.ts';
import { answer, follow, history, modelRequests, only, openSession, script, send, type Told, texts } from '../conversation.ts';
import { useStack, verifies } from '../verifies.ts';

/** Gateway 0 is the one that the clients under test talk to, and the one that dies. */
const stack = useStack({ tier: 'turns', count: { gateway: 2 } });
const elsewhere = () => stack().client({ baseURL: stack().url(1) });
const LONG_MS = 60_000;

describe('the accumulator', () => {
  /** Folds what a stream told, and checks at each step that a snapshot only grows. Resolves to the last text of each message. */
  function fold(events: readonly Told[]): Map<string, string> {
    const previews = createPreviews();
    const last = new Map<string, string>();
    for (const event of events) {
      const changed = previews.add(event);
      if (!changed) continue;
      const before = last.get(changed.id) ?? '';
      const now = changed.content.map((block) => (block.type === 'text' ? block.text : '')).join('');
      expect(now.startsWith(before), `${JSON.stringify(now)} goes on from ${JSON.stringify(before)}`).toBe(true);
      last.set(changed.id, now);
    }
    return last;
  }
  const messages = (events: readonly Told[]) => only(events, 'agent.message');
  const first = 'Two texts in one answer, and this is the first. ';
  const second = 'The second has ünïcödé and a parrot 🦜, and is longer than the first one was. ';

  verifies('clients.accumulator', async () => {
    const id = await openSession(stack(), { tools: ['web_search'] });
    await using stream = await follow(stack(), id, { deltas: ['agent.message', 'agent.thinking'] });
    const blocks = [
      { thinking: 'hm' },
      { text: first },
      { thinking: 'hm again' },
      { text: second },
      { tool: 'web_search', input: { query: 'q' } },
    ];
    await send(stack(), id, script([{ blocks: [...blocks, { text: 'after' }], delta_ms: 10, delta_chars: 7 }, answer('the end')]));
    await stream.next('session.status_idle');
    const listed = messages(await history(stack(), id));
    expect(texts(listed, 'agent.message')).toEqual([first, second, 'after', 'the end']);
    expect([...fold(stream.events)]).toEqual(listed.map((event) => [event.id, texts([event], 'agent.message')[0]]));
    // Each piece was told before its message, and the messages end as they are listed.
    const previews = createPreviews();
    const folded = stream.events.map((event) => previews.add(event));
    expect(messages(stream.events)).toEqual(listed);
    expect(folded.filter((_, at) => stream.events[at]!.type === 'agent.message')).toEqual(listed);
    const pieces = only(stream.events, 'event_delta').filter(({ event_id }) => event_id === listed[1]!.id);
    expect(pieces.map(({ delta }) => ('text' in delta.content ? delta.content.text : '')).join('')).toBe(second);
    expect(pieces.length).toBeGreaterThan(1);
  });

  verifies('clients.accumulator.cut', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id, { deltas: ['agent.message', 'agent.thinking'] });
    const blocks = [{ thinking: 'hm' }, { text: 'short' }, { text: second.repeat(2) }];
    await send(stack(), id, script([{ blocks, delta_ms: 10, delta_chars: 7, fault: 'cut' }]));
    await stream.next('session.status_idle');
    const listed = messages(await history(stack(), id));
    expect(texts(listed, 'agent.message')).toEqual(['short', second.repeat(2)]);
    const folded = fold(stream.events);
    for (const event of listed) expect(folded.get(event.id)).toBe(texts([event], 'agent.message')[0]);
    // What the cut request had told is the beginning of the same texts, under ids that never become events.
    const given = [...folded].filter(([message]) => !listed.some((event) => event.id === message));
    expect(given.map(([, text]) => text)[0]).toBe('short');
    expect(given).toHaveLength(2);
    expect(second.repeat(2).startsWith(given[1]![1])).toBe(true);
    expect(given[1]![1].length).toBeLessThan(second.repeat(2).length);
    const ends = stream.events.flatMap((event, at) => (event.type === 'span.model_request_end' ? [at] : []));
    expect([...fold(stream.events.slice(ends[0])).keys()], 'nothing of it comes after its end').toEqual(listed.map((event) => event.id));
  });
});

describe('the session tool runner', () => {
  const SCHEMA = { type: 'object' as const, properties: { key: { type: 'string' as const } }, required: ['key'] };
  const custom = (name: string) => ({ type: 'custom' as const, name, description: `Does ${name}.`, input_schema: SCHEMA });
  /** A tool of the client that answers by `run`. */
  const tool = (name: string, run: (key: string) => string | Promise<string>) =>
    betaTool({ name, description: `Does ${name}.`, inputSchema: SCHEMA, run: ({ key }) => run(String(key)) });
  const call = (name: string, key: string) => ({ tool: name, input: { key } });

  async function open(): Promise<string> {
    const { agents, environments, sessions } = elsewhere().beta;
    const [agent, environment] = await Promise.all([
      agents.create({ name: 'a', model: 'fake', tools: [custom('look_up'), custom('note')] }),
      environments.create({ name: 'e' }),
    ]);
    return (await sessions.create({ agent: agent.id, environment_id: environment.id })).id;
  }
  const say = (id: string, ...steps: Parameters<typeof script>[0]) =>
    elsewhere().beta.sessions.events.send(id, { events: [script(steps)] });
  const listed = (id: string) => elsewhere().beta.sessions.events.list(id, { limit: 1000 });
  async function events(id: string): Promise<Told[]> {
    return (await listed(id)).data;
  }
  async function calls(runner: SessionToolRunner): Promise<DispatchedToolCall[]> {
    const all: DispatchedToolCall[] = [];
    for await (const one of runner) all.push(one);
    return all;
  }

  verifies('clients.runner.parallel', async () => {
    const id = await open();
    const ran: string[] = [];
    const lookUp = tool('look_up', (key) => {
      ran.push(key);
      if (key === 'bad') throw new Error('no such key');
      return `value of ${key}`;
    });
    const note = tool('note', async (key) => `noted ${key}`);
    await say(id, { blocks: [call('look_up', 'a'), call('note', 'n'), call('look_up', 'bad'), call('look_up', 'b')] }, answer('done'));
    const done = await calls(
      stack()
        .client()
        .beta.sessions.events.toolRunner(id, { tools: [lookUp, note], maxIdleMs: 200 }),
    );
    expect(ran).toEqual(['a', 'bad', 'b']);
    expect(done.map(({ name, isError, posted }) => [name, isError, posted])).toEqual([
      ['look_up', false, true],
      ['note', false, true],
      ['look_up', true, true],
      ['look_up', false, true],
    ]);
    expect(texts(await events(id), 'agent.message')).toEqual(['done']);
    const told = (await modelRequests(stack(), id)).at(-1)!.body.messages.at(-1).content;
    expect(told.map(({ is_error, content }: { is_error: boolean; content: { text: string }[] }) => [is_error, content[0]!.text])).toEqual([
      [false, 'value of a'],
      [false, 'noted n'],
      [true, expect.stringContaining('no such key')],
      [false, 'value of b'],
    ]);
  });

  verifies(
    'clients.runner.reconnect',
    async () => {
      const id = await open();
      const ran: string[] = [];
      const lookUp = tool('look_up', async (key) => {
        ran.push(key);
        if (key !== 'a') return `value of ${key}`;
        // While the runner is cut off, somebody else is faster with this answer, and the next call goes by unseen.
        await stack().kill('gateway', 0);
        const first = only(await events(id), 'agent.custom_tool_use')[0]!.id;
        const content = [{ type: 'text' as const, text: 'from elsewhere' }];
        await elsewhere().beta.sessions.events.send(id, {
          events: [{ type: 'user.custom_tool_result', custom_tool_use_id: first, content }],
        });
        await until(async () => only(await events(id), 'agent.custom_tool_use').length === 2, { what: 'the second call' });
        await stack().restart('gateway', 0);
        return 'too late';
      });
      await say(id, { blocks: [call('look_up', 'a')] }, { blocks: [call('look_up', 'b')] }, answer('it is {{last_tool_result}}'));
      const { events: told } = stack().client({ logLevel: 'off' }).beta.sessions;
      const done = await calls(told.toolRunner(id, { tools: [lookUp], maxIdleMs: 200 }));
      expect(ran).toEqual(['a', 'b']);
      expect(done.map(({ isError, posted }) => [isError, posted])).toEqual([
        [false, true],
        [false, true],
      ]);
      const all = await events(id);
      expect(only(all, 'user.custom_tool_result').map(({ content }) => content)).toMatchObject([
        [{ text: 'from elsewhere' }],
        [{ text: 'value of b' }],
      ]);
      expect(texts(all, 'agent.message')).toEqual(['it is value of b']);
    },
    LONG_MS,
  );

  verifies('clients.runner.archive', async () => {
    const id = await open();
    await using stream = await follow(stack(), id, { client: elsewhere() });
    await say(id, { blocks: [call('note', 'x')] }, answer('noted'));
    let over = false;
    const runner = stack()
      .client()
      .beta.sessions.events.toolRunner(id, { tools: [tool('note', () => 'yes')], maxIdleMs: 0 });
    const done = calls(runner).finally(() => {
      over = true;
    });
    await stream.next('session.status_idle', ({ stop_reason }) => stop_reason.type === 'end_turn');
    expect(over).toBe(false);
    await elsewhere().beta.sessions.archive(id);
    expect((await done).map(({ posted }) => posted)).toEqual([true]);
    expect((await events(id)).at(-1)!.type).toBe('session.status_terminated');
  });
});
