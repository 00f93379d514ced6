/** Files in messages: what the model is shown, what the session keeps, what is refused. */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { toFile } from '@anthropic-ai/sdk';
import { until } from '@manyhands/test-kit';
import { expect } from 'vitest';
import { expectRefusal, raw } from '../client.ts';
import { answer, follow, history, modelRequests, only, openSession, script, send } from '../conversation.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'turns' });
const files = () => stack().client().beta.files;
const upload = async (bytes: Buffer | string, name: string) => (await files().upload({ file: await toFile(Buffer.from(bytes), name) })).id;

const PNG = Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), Buffer.alloc(200, 7)]);
const PDF = Buffer.from('%PDF-1.4\n%%EOF\n');
const image = (file_id: string) => ({ type: 'image' as const, source: { type: 'file' as const, file_id } });
const document = (file_id: string, more: object = {}) => ({
  type: 'document' as const,
  source: { type: 'file' as const, file_id },
  ...more,
});
const base64 = (media_type: string, bytes: Buffer) => ({ type: 'base64', media_type, data: bytes.toString('base64') });
const LOOKUP = { type: 'custom' as const, name: 'lookup', description: 'looks', input_schema: { type: 'object' as const } };

verifies('content.files', async () => {
  // The names say something else: what counts is what they hold.
  const [picture, paper, note] = [await upload(PNG, 'a.txt'), await upload(PDF, 'b.bin'), await upload('zwölf Boxkämpfer', 'c.png')];
  const { agents, environments, sessions } = stack().client().beta;
  const agent = await agents.create({ name: 'reader', model: 'fake', tools: [LOOKUP] });
  const environment = await environments.create({ name: 'e' });
  const first = [
    image(picture),
    document(note, { title: 'Note' }),
    ...script([{ blocks: [{ tool: 'lookup', input: {} }] }, answer('Seen.'), answer('Again.')], 'look').content,
  ];
  const session = await sessions.create({
    ...{ agent: agent.id, environment_id: environment.id },
    initial_events: [{ type: 'user.message', content: first }],
  });
  await using stream = await follow(stack(), session.id);
  const parked = async () => only(await history(stack(), session.id), 'session.status_idle').length > 0;
  await until(parked, { timeoutMs: 20_000, what: 'the call to wait for its answer' });
  const [call] = only(await history(stack(), session.id), 'agent.custom_tool_use');
  const result = [document(paper), image(picture)];
  await sessions.events.send(session.id, {
    events: [{ type: 'user.custom_tool_result', custom_tool_use_id: call!.id, content: result }],
  });
  await stream.next('session.status_idle', ({ stop_reason }) => stop_reason.type === 'end_turn');

  // The session keeps what it was shown, and another worker shows the same.
  for (const id of [picture, paper, note]) await files().delete(id);
  await stack().restart('harness');
  await send(stack(), session.id, script([answer('Again.')], 'once more'));
  await stream.next('session.status_idle');
  const requests = await modelRequests(stack(), session.id);
  expect(requests).toHaveLength(3);
  for (const { body } of requests)
    expect(body.messages[0].content.slice(0, 2)).toEqual([
      { type: 'image', source: base64('image/png', PNG) },
      { type: 'document', title: 'Note', source: { type: 'text', media_type: 'text/plain', data: 'zwölf Boxkämpfer' } },
    ]);
  expect(requests[2]!.body.messages[2].content[0].content).toMatchObject([
    { type: 'document', source: base64('application/pdf', PDF) },
    { type: 'image', source: base64('image/png', PNG) },
  ]);

  // The history tells what was sent.
  const events = await history(stack(), session.id);
  expect(only(events, 'user.message')[0]).toMatchObject({ content: first });
  expect(only(events, 'user.custom_tool_result')[0]).toMatchObject({ content: result });

  // What the session kept goes with it.
  const kept = path.join(stack().data, 'blobs');
  const inside = async () => (await readdir(kept, { recursive: true })).filter((name) => name.includes(`${session.id}/attachments/`));
  expect(await inside()).toHaveLength(3);
  await sessions.delete(session.id);
  expect(await inside()).toEqual([]);
});

verifies('content.files_refusals', async () => {
  const [picture, paper, binary, empty, large] = [
    await upload(PNG, 'a.png'),
    await upload(PDF, 'b.pdf'),
    await upload(Buffer.from([1, 0, 2]), 'c'),
    await upload('', 'd'),
    await upload(Buffer.concat([PDF, Buffer.alloc(17 * 1024 * 1024, 32)]), 'e.pdf'),
  ];
  const id = await openSession(stack());
  const { agent, environment_id } = await stack().client().beta.sessions.retrieve(id);
  const before = await stack().client().beta.sessions.list({});
  const told = script([answer('x')], 'x').content[0];
  const cases: [unknown[], number, (string | RegExp)[]][] = [
    [[told, image('file_none')], 404, ['file', 'file_none']],
    [[image(paper!)], 400, ['0.content.0.source.file_id', 'PNG']],
    [[told, image(binary!)], 400, ['0.content.1.source.file_id', 'PNG']],
    [[document(binary!)], 400, ['0.content.0.source.file_id', 'PDF', 'text']],
    [[document(picture!)], 400, ['0.content.0.source.file_id', 'PDF', 'text']],
    [[document(empty!)], 400, ['0.content.0.source.file_id', 'empty']],
    [[document(large!), document(large!)], 400, ['together']],
    [Array.from({ length: 101 }, () => document(paper!)), 400, ['100']],
    [[{ type: 'image', source: { type: 'file' } }], 400, ['0.content.0.source.file_id']],
    [[{ type: 'image', source: { type: 'file', file_id: picture, data: 'x' } }], 400, ['0.content.0.source', 'data']],
  ];
  for (const [content, status, says] of cases) {
    const event = { type: 'user.message', content };
    expectRefusal(await raw(stack(), 'POST', `/v1/sessions/${id}/events`, { body: { events: [event] } }), { status, says });
    const body = { agent: agent.id, environment_id, initial_events: [event] };
    expectRefusal(await raw(stack(), 'POST', '/v1/sessions', { body }), { status, says });
  }
  expect(await history(stack(), id)).toEqual([]);
  expect((await stack().client().beta.sessions.list({})).data).toHaveLength(before.data.length);
});
