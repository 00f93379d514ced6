/**
 * A chat program for Claude Managed Agents, written from their public documentation alone. Endpoint and key are the SDK's ANTHROPIC_BASE_URL
 * and ANTHROPIC_API_KEY. What is said, and whether a command may run, is read from stdin, line by line; a line that ends in a backslash goes
 * on in the next one. When the input is over, it tells the usage and fetches the files that the agent left.
 *
 *   node chat-program.mjs [directory for the files]
 */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import Anthropic from '@anthropic-ai/sdk';

const ORDERS = { 'A-17': 'shipped yesterday', 'B-4': 'waiting for parts' };
const ORDER_STATUS = {
  type: 'custom',
  name: 'order_status',
  description: 'Tells how far an order of our shop is.',
  input_schema: { type: 'object', properties: { order: { type: 'string', description: 'Such as A-17.' } }, required: ['order'] },
};
const MAY_ASK = { type: 'agent_toolset_20260401', configs: [{ name: 'bash', permission_policy: { type: 'always_ask' } }] };

const client = new Anthropic({ maxRetries: 8 });
const { agents, environments, sessions, files } = client.beta;
const input = createInterface({ input: process.stdin });
const lines = input[Symbol.asyncIterator]();

/** The next line, or null at the end of the input. */
async function ask(question) {
  process.stdout.write(question);
  let text = '';
  for (let next = await lines.next(); !next.done; next = await lines.next()) {
    if (!next.value.endsWith('\\')) return text + next.value;
    text += `${next.value.slice(0, -1)}\n`;
  }
  return null;
}

const open = (id) => sessions.events.stream(id, { event_deltas: ['agent.message'] });

/** Every event once. After a broken connection: a new stream first, then the history for what was missed. */
async function* follow(id, first) {
  const seen = new Set();
  const isNew = (event) => event.id === undefined || (!seen.has(event.id) && seen.add(event.id));
  for (let stream = first; ; stream = await open(id)) {
    if (stream !== first) for await (const event of sessions.events.list(id, { limit: 1000 })) if (isNew(event)) yield event;
    try {
      for await (const event of stream) if (isNew(event)) yield event;
    } catch (error) {
      if (error.status !== undefined) throw error;
    }
    console.log('\n[connection lost]');
    await sleep(200);
  }
}

/** What answers a call that the session waits for. */
async function answer({ id, ...call }) {
  if (call.type === 'agent.custom_tool_use') {
    const status = ORDERS[call.input.order];
    const content = [{ type: 'text', text: status ?? `There is no order ${call.input.order}.` }];
    return { type: 'user.custom_tool_result', custom_tool_use_id: id, content, is_error: status === undefined };
  }
  const verdict = (await ask(`allow ${call.name}? `)) ?? 'nobody is there to allow it';
  if (verdict === 'allow') return { type: 'user.tool_confirmation', tool_use_id: id, result: 'allow' };
  return { type: 'user.tool_confirmation', tool_use_id: id, result: 'deny', deny_message: verdict };
}

const textOf = (content) => (content ?? []).map((block) => block.text ?? `[${block.type}]`).join('');

const agent = await agents.create({ name: 'shop assistant', model: 'claude-sonnet-5', tools: [MAY_ASK, ORDER_STATUS] });
const environment = await environments.create({
  name: `shop-${Date.now()}`,
  config: { type: 'cloud', networking: { type: 'unrestricted' } },
});
const session = await sessions.create({ agent: agent.id, environment_id: environment.id, title: 'chat' });

/** Resolves to false when there is nothing more to say. */
async function say() {
  const text = await ask('> ');
  if (text === null) return false;
  await sessions.events.send(session.id, { events: [{ type: 'user.message', content: [{ type: 'text', text }] }] });
  return true;
}

const calls = new Map();
/** What previews have shown of each message. They are a convenience: the event itself has the whole text. */
const shown = new Map();

/** Resolves to true when the conversation is over. */
async function handle(event) {
  switch (event.type) {
    case 'event_delta':
      shown.set(event.event_id, (shown.get(event.event_id) ?? '') + event.delta.content.text);
      process.stdout.write(event.delta.content.text);
      return false;
    case 'agent.message':
      console.log(textOf(event.content).slice(shown.get(event.id)?.length ?? 0));
      return false;
    case 'agent.tool_use':
    case 'agent.custom_tool_use':
      calls.set(event.id, event);
      console.log(`[${event.name} ${JSON.stringify(event.input)}]`);
      return false;
    case 'agent.tool_result':
      console.log(`[${event.is_error ? 'error' : 'result'}: ${textOf(event.content)}]`);
      return false;
    case 'session.error':
      console.log(`\n[${event.error.type}: ${event.error.message}, ${event.error.retry_status.type}]`);
      return false;
    case 'session.status_terminated':
      return true;
    case 'session.status_idle': {
      if (event.stop_reason.type !== 'requires_action') return !(await say());
      const events = [];
      for (const id of event.stop_reason.event_ids) events.push(await answer(calls.get(id)));
      await sessions.events.send(session.id, { events });
      return false;
    }
    default:
      return false;
  }
}

// The stream tells only what happens after it was opened, so it comes before the first message.
const stream = await open(session.id);
if (await say()) for await (const event of follow(session.id, stream)) if (await handle(event)) break;
stream.controller.abort();
input.close();

const directory = path.resolve(process.argv[2] ?? 'outputs');
const { usage } = await sessions.retrieve(session.id);
const cached = usage.cache_read_input_tokens + usage.cache_creation.ephemeral_5m_input_tokens;
console.log(`\n${session.id} used ${usage.input_tokens} tokens in, ${cached} of the cache, ${usage.output_tokens} out`);
for await (const file of files.list({ scope_id: session.id, betas: ['managed-agents-2026-04-01'] })) {
  if (!file.downloadable) continue;
  const target = path.join(directory, path.join('/', file.filename));
  await mkdir(path.dirname(target), { recursive: true });
  await writeFile(target, Buffer.from(await (await files.download(file.id)).arrayBuffer()));
  console.log(`fetched ${file.filename}, ${file.size_bytes} bytes`);
}
