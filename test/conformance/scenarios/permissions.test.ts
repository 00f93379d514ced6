/** Permission policies and confirmations, with real sandboxes. */
import type { BetaManagedAgentsEventParams } from '@anthropic-ai/sdk/resources/beta/sessions/events';
import type { FakeBlock } from '@manyhands/model/testing';
import { processTable, until } from '@manyhands/test-kit';
import { describe, expect } from 'vitest';
import { expectRejection } from '../client.ts';
import { answer, expectSound, follow, history, modelRequests, only, script, texts, types } from '../conversation.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'full', env: { 'sandbox-pool': { MANYHANDS_POOL_WARM: '2', MANYHANDS_SANDBOX_GRACE_MS: '500' } } });
const sessions = () => stack().client().beta.sessions;
const LONG_MS = 60_000;

type Policy = 'always_allow' | 'always_ask' | 'auto';
const bash = (command: string): FakeBlock => ({ tool: 'bash', input: { command } });

/** A session whose agent has these tools, each under its policy. */
async function open(policies: Partial<Record<'bash' | 'read' | 'write' | 'glob', Policy>>): Promise<string> {
  const { agents, environments } = stack().client().beta;
  const configs = Object.entries(policies).map(([name, type]) => ({ name: name as 'bash', enabled: true, permission_policy: { type } }));
  const [agent, environment] = await Promise.all([
    agents.create({ name: 'a', model: 'fake', tools: [{ type: 'agent_toolset_20260401', default_config: { enabled: false }, configs }] }),
    environments.create({ name: 'e' }),
  ]);
  return (await sessions().create({ agent: agent.id, environment_id: environment.id })).id;
}
const send = (id: string, ...events: BetaManagedAgentsEventParams[]) => sessions().events.send(id, { events });
const confirm = (tool_use_id: string, result: 'allow' | 'deny', deny_message?: string) => ({
  type: 'user.tool_confirmation' as const,
  tool_use_id,
  result,
  ...(deny_message === undefined ? {} : { deny_message }),
});
const PARK = ['session.thread_status_idle', 'session.usage', 'session.status_idle'];
const RUNNING = ['session.status_running', 'session.thread_status_running'];

describe('always_ask', () => {
  verifies(
    'permissions.ask',
    async () => {
      const id = await open({ bash: 'always_ask' });
      await using stream = await follow(stack(), id);
      await send(id, script([{ blocks: [bash('echo ran >> log; wc -l < log')] }, answer('it said {{last_tool_result}}')]));
      const idle = await stream.next('session.status_idle');
      const [use] = only(stream.events, 'agent.tool_use');
      expect(use).toMatchObject({ evaluated_permission: 'ask', evaluation: { type: 'always_ask' } });
      expect(idle).toMatchObject({ stop_reason: { type: 'requires_action', event_ids: [use!.id] }, stop_details: null });
      expect((await sessions().retrieve(id)).status).toBe('idle');
      const sent = await send(id, confirm(use!.id, 'allow'));
      expect(sent.data).toEqual([{ ...confirm(use!.id, 'allow'), id: expect.stringMatching(/^sevt_/), processed_at: null }]);
      expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
      const events = await history(stack(), id);
      expectSound(events);
      expect(types(events)).toEqual([
        ...RUNNING,
        'user.message',
        'span.model_request_start',
        'agent.tool_use',
        'span.model_request_end',
        ...PARK,
        'user.tool_confirmation',
        ...RUNNING,
        'agent.tool_result',
        'span.model_request_start',
        'agent.message',
        'span.model_request_end',
        ...PARK,
      ]);
      // It ran once, and only after it was confirmed.
      expect(texts(events, 'agent.message')).toEqual(['it said 1']);
      const told = stream.events.filter((event) => 'id' in event && event.id === sent.data![0]!.id);
      expect(told.map((event) => ('processed_at' in event ? event.processed_at : ''))).toEqual([null, expect.any(String)]);
    },
    LONG_MS,
  );

  verifies('permissions.deny', async () => {
    const id = await open({ bash: 'always_ask' });
    await using stream = await follow(stack(), id);
    const calls = [bash('touch one'), bash('touch two')];
    await send(id, script([{ blocks: calls }, { blocks: [{ text: 'as you wish' }] }]));
    await stream.next('session.status_idle');
    const [one, two] = only(stream.events, 'agent.tool_use');
    await send(id, confirm(one!.id, 'deny', 'that is not a good idea'), confirm(two!.id, 'deny'));
    await stream.next('session.status_idle');
    const events = await history(stack(), id);
    expectSound(events);
    const text = 'Permission to use bash has been denied.';
    expect(only(events, 'agent.tool_result').toSorted((a, b) => (a.tool_use_id < b.tool_use_id ? -1 : 1))).toMatchObject(
      [
        { tool_use_id: one!.id, is_error: true, content: [{ type: 'text', text: `${text} that is not a good idea` }] },
        { tool_use_id: two!.id, is_error: true, content: [{ type: 'text', text }] },
      ].toSorted((a, b) => (a.tool_use_id < b.tool_use_id ? -1 : 1)),
    );
    expect(only(events, 'user.tool_confirmation').map(({ deny_message }) => deny_message)).toEqual(['that is not a good idea', undefined]);
    const [, second] = await modelRequests(stack(), id);
    expect(JSON.stringify(second!.body.messages)).toContain('that is not a good idea');
  });

  verifies(
    'permissions.parallel',
    async () => {
      const id = await open({ bash: 'always_ask', write: 'always_allow', glob: 'always_ask' });
      await using stream = await follow(stack(), id);
      const write: FakeBlock = { tool: 'write', input: { file_path: 'made', content: 'x' } };
      const glob: FakeBlock = { tool: 'glob', input: { pattern: '*' } };
      await send(id, script([{ blocks: [bash('cat made'), write, glob] }, answer('done')]));
      const first = await stream.next('session.status_idle');
      const use = (name: string) => only(stream.events, 'agent.tool_use').find((event) => event.name === name)!.id;
      expect(first.stop_reason).toEqual({ type: 'requires_action', event_ids: [use('bash'), use('glob')] });
      // What is allowed ran at once; what the client was asked for did not.
      expect(only(stream.events, 'agent.tool_result').map(({ tool_use_id }) => tool_use_id)).toEqual([use('write')]);
      await send(id, confirm(use('bash'), 'allow'));
      const rest = await stream.next('session.status_idle');
      expect(rest.stop_reason).toEqual({ type: 'requires_action', event_ids: [use('glob')] });
      expect(only(stream.events, 'session.status_running')).toHaveLength(1);
      expect(only(stream.events, 'agent.tool_result')).toHaveLength(1);
      await send(id, confirm(use('glob'), 'allow'));
      expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
      const events = await history(stack(), id);
      expectSound(events);
      const results = new Map(
        only(events, 'agent.tool_result').map((result) => [result.tool_use_id, texts([result], 'agent.tool_result')[0]]),
      );
      expect(results.get(use('bash'))).toBe('x');
      expect(results.get(use('glob'))).toContain('made');
      expect(only(events, 'session.status_running')).toHaveLength(2);
    },
    LONG_MS,
  );

  verifies('permissions.refusals', async () => {
    const id = await open({ bash: 'always_ask', write: 'always_allow' });
    await using stream = await follow(stack(), id);
    await send(id, script([{ blocks: [bash('true'), { tool: 'write', input: { file_path: 'f', content: '' } }] }, answer('done')]));
    await stream.next('session.status_idle');
    const [ask, allowed] = only(stream.events, 'agent.tool_use');
    const before = await history(stack(), id);
    const cases: [BetaManagedAgentsEventParams, RegExp][] = [
      [confirm('sevt_nothing', 'allow'), /events\.0\.tool_use_id: .*no agent\.tool_use event/],
      [confirm(allowed!.id, 'allow'), /events\.0\.tool_use_id: .*not asked for/],
      [
        { type: 'user.custom_tool_result', custom_tool_use_id: ask!.id },
        /events\.0\.custom_tool_use_id: .*answered by user\.tool_confirmation/,
      ],
      [confirm(ask!.id, 'allow', 'why'), /events\.0\.deny_message/],
      [{ type: 'user.tool_result', tool_use_id: ask!.id }, /self_hosted/],
    ];
    for (const [event, says] of cases) await expectRejection(send(id, event), { status: 400, says });
    expect(await history(stack(), id)).toEqual(before);
    const first = await send(id, confirm(ask!.id, 'allow'));
    // A client that never saw the answer says it again, and one that thinks better of it is too late.
    expect((await send(id, confirm(ask!.id, 'deny'))).data![0]).toMatchObject({ id: first.data![0]!.id, result: 'allow' });
    await stream.next('session.status_idle');
    expect((await send(id, confirm(ask!.id, 'deny'))).data![0]).toMatchObject({ id: first.data![0]!.id, processed_at: expect.any(String) });
    expect(only(await history(stack(), id), 'user.tool_confirmation')).toHaveLength(1);
  });
});

describe('a sandbox that is let go while a call waits for the client', () => {
  verifies(
    'permissions.sandbox_gone',
    async () => {
      const id = await open({ bash: 'always_ask' });
      await using stream = await follow(stack(), id);
      const mark = `sleep 9${process.pid % 1000}`;
      const begin = { blocks: [bash(`echo kept > file; (${mark} > /dev/null 2>&1 &); echo begun`)] };
      await send(id, script([begin, { blocks: [bash('cat file')] }, answer('it said {{last_tool_result}}')]));
      const runs = () => processTable().some(({ command }) => command === mark);
      await stream.next('session.status_idle');
      await send(id, confirm(only(stream.events, 'agent.tool_use')[0]!.id, 'allow'));
      await stream.next('session.status_idle');
      await until(() => !runs(), { what: 'the sandbox to be let go', timeoutMs: 30_000 });
      await send(id, confirm(only(stream.events, 'agent.tool_use')[1]!.id, 'allow'));
      expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
      // It was never started there, so nobody is told that it may have run; it runs in a new one, with the files of the old.
      const events = await history(stack(), id);
      expectSound(events);
      expect(texts(events, 'agent.tool_result')).toEqual(['begun', 'kept']);
    },
    LONG_MS,
  );
});

describe('auto', () => {
  verifies(
    'permissions.auto',
    async () => {
      // The judge sees what the user said last, and the fake model says the script's first words to the judge as well.
      const judged = async (word: string) => {
        const id = await open({ bash: 'auto' });
        const stream = await follow(stack(), id);
        await send(id, script([{ blocks: [{ text: word }, bash('echo ran')] }, answer('done')]));
        const { stop_reason } = await stream.next('session.status_idle');
        await stream[Symbol.asyncDispose]();
        const events = await history(stack(), id);
        return { id, events, stop: stop_reason.type, use: only(events, 'agent.tool_use')[0]! };
      };
      const [allow, deny, ask, unclear] = await Promise.all(['ALLOW', 'DENY', 'ASK', 'ALLOW, I suppose'].map(judged));
      expect(allow).toMatchObject({
        stop: 'end_turn',
        use: { evaluated_permission: 'allow', evaluation: { type: 'auto', evaluated_permission: { type: 'allow' } } },
      });
      expect(texts(allow!.events, 'agent.tool_result')).toEqual(['ran']);
      expect(deny).toMatchObject({
        stop: 'end_turn',
        use: {
          evaluated_permission: 'deny',
          evaluation: { type: 'auto', evaluated_permission: { type: 'deny', reason_code: 'high_risk' } },
        },
      });
      expect(texts(deny!.events, 'agent.tool_result')).toEqual(['Permission to use bash has been denied.']);
      const undecided = { type: 'auto', evaluated_permission: { type: 'ask', reason_code: 'indeterminate' } };
      for (const asked of [ask, unclear])
        expect(asked).toMatchObject({ stop: 'requires_action', use: { evaluated_permission: 'ask', evaluation: undecided } });
      // The judgement is a request of its own, without tools, and what it takes is counted with the answer's.
      const requests = await modelRequests(stack(), allow!.id);
      expect(requests).toHaveLength(3);
      expect(requests[1]!.body.tools).toBeUndefined();
      expect(JSON.stringify(requests[1]!.body.messages)).toContain('echo ran');
      const usage = (await sessions().retrieve(allow!.id)).usage;
      const spans = only(allow!.events, 'span.model_request_end');
      expect(spans).toHaveLength(2);
      expect(usage.output_tokens).toBe(spans.reduce((sum, { model_usage }) => sum + model_usage.output_tokens, 0));
      expect(spans[0]!.model_usage.output_tokens).toBeGreaterThan(
        only(deny!.events, 'span.model_request_end')[1]!.model_usage.output_tokens,
      );
    },
    LONG_MS,
  );
});
