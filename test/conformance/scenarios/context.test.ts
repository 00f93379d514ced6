/** The conversation as the model is shown it: compaction, its limits, tool rounds, pictures and documents. */
import { until } from '@manyhands/test-kit';
import { describe, expect } from 'vitest';
import { expectRefusal, raw } from '../client.ts';
import { answer, expectSound, follow, history, modelRequests, only, openSession, script, send, texts, types } from '../conversation.ts';
import { useStack, verifies } from '../verifies.ts';

/** Compaction begins at half of the window here, since an answer may take the rest. */
const WINDOW = 8_000;
const stack = useStack({
  tier: 'turns',
  env: { harness: { MANYHANDS_CONTEXT_WINDOW: String(WINDOW), MANYHANDS_MODEL_MAX_TOKENS: '2000', MANYHANDS_TOOL_ROUNDS: '3' } },
});
const EXHAUSTED = { stop_reason: { type: 'retries_exhausted' } };
const padding = (chars: number) => 'lorem ipsum '.repeat(Math.ceil(chars / 12)).slice(0, chars);
const long = (n: number, reply = `Answer ${n}.`) => script([answer(reply)], `keep-${n} ${padding(3_000)}`);
const round = { blocks: [{ text: 'on it' }, { tool: 'bash', input: { command: 'true' } }] };
const summaries = async (id: string) => (await modelRequests(stack(), id)).filter(({ source }) => source === 'summary');
const said = (body: { messages: { content: unknown }[] }) => JSON.stringify(body.messages);

describe('a conversation that gets long', () => {
  verifies(['context.compaction', 'context.checkpoint'], async () => {
    const id = await openSession(stack(), { system: 'Be brief.', tools: ['web_search'] });
    await using stream = await follow(stack(), id);
    for (let n = 1; n <= 6; n++) {
      await send(stack(), id, long(n));
      await stream.next('session.status_idle');
    }
    const events = await history(stack(), id);
    expectSound(events);
    expect(texts(events, 'agent.message')).toEqual([1, 2, 3, 4, 5, 6].map((n) => `Answer ${n}.`));
    const compacted = only(events, 'agent.thread_context_compacted');
    expect(compacted.length).toBeGreaterThan(0);
    expect(compacted[0]).toEqual({ type: 'agent.thread_context_compacted', id: expect.any(String), processed_at: expect.any(String) });
    // It comes as the end of a request that told nothing else.
    const at = events.findIndex(({ type }) => type === 'agent.thread_context_compacted');
    expect(types(events).slice(at - 2, at)).toEqual(['span.model_request_start', 'span.model_request_end']);
    const requests = await modelRequests(stack(), id);
    expect(requests.every(({ status }) => status === 200)).toBe(true);
    const first = requests.findIndex(({ source }) => source === 'summary');
    // The summary is asked for at the end of the very prompt, so that the cache serves most of it.
    expect(requests[first]!.body.tools).toEqual(requests[first - 1]!.body.tools);
    const end = only(events, 'span.model_request_end')[first]!;
    expect(end.model_usage.cache_read_input_tokens).toBeGreaterThan(2 * end.model_usage.input_tokens);
    expect(said(requests[first + 1]!.body)).toContain('Kept: keep-1 ');
    expect(said(requests[first + 1]!.body).length).toBeLessThan(said(requests[first - 1]!.body).length);

    // Another worker stands where this one stood.
    await stack().restart('harness');
    await send(stack(), id, script([answer('Still here.')], 'keep-last'));
    await stream.next('session.status_idle');
    const last = (await modelRequests(stack(), id)).at(-1)!;
    expect(said(last.body)).toContain('was summed up to save space');
    expect(said(last.body)).toContain('Answer 6.');
  });

  verifies('context.compaction_crash', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id);
    for (let n = 1; n <= 4; n++) {
      await send(stack(), id, long(n));
      if (n < 4) await stream.next('session.status_idle');
    }
    let n = 5;
    while ((await summaries(id)).length === 0) {
      // The journal shows a request as soon as it is there; the summary takes a moment.
      const before = stream.events.filter(({ type }) => type === 'session.status_idle').length;
      await until(
        async () => (await summaries(id)).length > 0 || stream.events.filter(({ type }) => type === 'session.status_idle').length > before,
        { timeoutMs: 10_000, what: 'a summary or an answer' },
      );
      if ((await summaries(id)).length === 0) await send(stack(), id, long(n++));
    }
    await stack().kill('harness');
    await stack().add('harness');
    await until(async () => texts(await history(stack(), id), 'agent.message').includes(`Answer ${n - 1}.`), {
      timeoutMs: 20_000,
      what: 'the answer',
    });
    await until(async () => (await stack().client().beta.sessions.retrieve(id)).status === 'idle', { timeoutMs: 10_000, what: 'idle' });
    const events = await history(stack(), id);
    expectSound(events);
    expect(only(events, 'agent.thread_context_compacted')).toHaveLength(1);
    expect(only(events, 'span.model_request_end').some(({ is_error }) => is_error)).toBe(true);
    expect(said((await modelRequests(stack(), id)).at(-1)!.body)).toContain('Kept: keep-1 ');
  });

  verifies('context.too_long', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id);
    for (let n = 1; n <= 2; n++) {
      await send(stack(), id, long(n));
      await stream.next('session.status_idle');
    }
    // The model takes less than we were told: one compaction, and the same message again.
    await send(stack(), id, script([{ ...answer('It fits now.'), context_window: 900 }], 'short'));
    expect(await stream.next('session.status_idle')).toMatchObject({ stop_reason: { type: 'end_turn' } });
    let events = await history(stack(), id);
    expectSound(events);
    expect(texts(events, 'agent.message').at(-1)).toBe('It fits now.');
    expect(only(events, 'agent.thread_context_compacted')).toHaveLength(1);
    expect(only(events, 'session.error')).toEqual([]);

    await send(stack(), id, script([{ ...answer('Never.'), context_window: 10 }], 'short'));
    expect(await stream.next('session.error')).toMatchObject({
      error: { type: 'compaction_limit_reached_error', retry_status: { type: 'exhausted' } },
    });
    expect(await stream.next('session.status_idle')).toMatchObject(EXHAUSTED);
    await send(stack(), id, script([answer('On again.')]));
    expect(await stream.next('session.status_idle')).toMatchObject({ stop_reason: { type: 'end_turn' } });
    events = await history(stack(), id);
    expectSound(events);
    expect(texts(events, 'agent.message').at(-1)).toBe('On again.');
  });
});

verifies('turn.no_sandbox', async () => {
  // This installation has no sandbox to give.
  const id = await openSession(stack(), { tools: ['bash', 'read', 'write'] });
  await using stream = await follow(stack(), id);
  await send(stack(), id, script([answer('no need of one')]));
  expect(await stream.next('session.status_idle')).toMatchObject({ stop_reason: { type: 'end_turn' } });
  expect(texts(stream.events, 'agent.message')).toEqual(['no need of one']);
  expect((await modelRequests(stack(), id))[0]!.body.tools).toHaveLength(3);
});

verifies('turn.tool_rounds', async () => {
  const id = await openSession(stack(), { tools: ['web_search'] });
  await using stream = await follow(stack(), id);
  await send(stack(), id, script([round, round, round, answer('Never said.')]));
  expect(await stream.next('session.error')).toMatchObject({
    error: { type: 'tool_use_limit_reached_error', retry_status: { type: 'exhausted' } },
  });
  expect(await stream.next('session.status_idle')).toMatchObject(EXHAUSTED);
  expect(await modelRequests(stack(), id)).toHaveLength(3);
  await send(stack(), id, script([round, round, answer('Within bounds.')]));
  expect(await stream.next('session.status_idle')).toMatchObject({ stop_reason: { type: 'end_turn' } });
});

verifies(['content.media', 'content.media_refusals'], async () => {
  const id = await openSession(stack());
  await using stream = await follow(stack(), id);
  const image = { type: 'image' as const, source: { type: 'base64' as const, media_type: 'image/png' as const, data: 'iVBORw0KGgo=' } };
  const linked = { type: 'image' as const, source: { type: 'url' as const, url: 'https://example.com/a.png' } };
  const pdf = {
    type: 'document' as const,
    source: { type: 'base64' as const, media_type: 'application/pdf' as const, data: 'JVBERi0xLjQK'.repeat(8_000) },
  };
  const note = {
    type: 'document' as const,
    source: { type: 'text' as const, media_type: 'text/plain' as const, data: 'a note' },
    title: 'Note',
    context: null,
  };
  const content = [image, linked, pdf, note, ...script([answer('Seen.')], 'look').content];
  const { data } = await stack()
    .client()
    .beta.sessions.events.send(id, { events: [{ type: 'user.message', content }] });
  expect(data![0]).toMatchObject({ content });
  expect(await stream.next('session.status_idle')).toMatchObject({ stop_reason: { type: 'end_turn' } });
  const [request] = await modelRequests(stack(), id);
  const { context: _none, ...told } = note;
  expect(request!.body.messages[0].content.slice(0, 4)).toEqual([image, linked, pdf, told]);
  expect((await history(stack(), id)).find(({ type }) => type === 'user.message')).toMatchObject({ content });

  const before = await history(stack(), id);
  const refused = (block: unknown, says: string | RegExp) =>
    raw(stack(), 'POST', `/v1/sessions/${id}/events`, { body: { events: [{ type: 'user.message', content: [block] }] } }).then((told) =>
      expectRefusal(told, { status: 400, says }),
    );
  await refused({ type: 'redacted' }, 'events.0.content.0');
  await refused({ type: 'image', source: { ...image.source, media_type: 'image/bmp' } }, 'media_type');
  await refused({ type: 'image', source: { ...image.source, data: 'no base64!' } }, 'data');
  await refused({ type: 'image', source: { type: 'url', url: 'file:///etc/passwd' } }, 'http');
  await refused({ type: 'document', source: { ...note.source, data: '' } }, 'data');
  await refused({ type: 'image', source: { type: 'ftp' } }, 'source');
  expect(await history(stack(), id)).toEqual(before);
});
