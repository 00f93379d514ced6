/**
 * A chat completion request as a careful endpoint would check it, read into the same runs that scripts work on. Stricter than most local
 * servers on purpose: what passes here is well formed at each of them, thinking that was sent back included.
 */
import { type Block, mergeRuns, type Run } from '../conversation.ts';
import { type CheckedRequest, Refusal } from './request-checks.ts';

export interface CheckedChat extends CheckedRequest {
  includeUsage: boolean;
}

type Loose = Record<string, unknown>;
const FIELDS = new Set(
  'model messages max_tokens max_completion_tokens tools tool_choice parallel_tool_calls stream stream_options temperature top_p reasoning_effort user seed stop'.split(
    ' ',
  ),
);
const MESSAGE_FIELDS: Record<string, ReadonlySet<string>> = {
  system: new Set(['role', 'content', 'name']),
  developer: new Set(['role', 'content', 'name']),
  user: new Set(['role', 'content', 'name']),
  assistant: new Set(['role', 'content', 'name', 'tool_calls', 'refusal']),
  tool: new Set(['role', 'content', 'tool_call_id']),
};
const TOOL_NAME = /^[a-zA-Z0-9_-]{1,64}$/;
const EFFORTS = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh'];
const MAX_TOKENS_DEFAULT = 4096;

function fail(message: string): never {
  throw new Refusal(400, 'invalid_request_error', message);
}
function isObject(value: unknown): value is Loose {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Checks a request. Throws a Refusal. */
export function checkChat(body: unknown): CheckedChat {
  if (!isObject(body)) fail('the request body must be a JSON object');
  for (const field of Object.keys(body)) if (!FIELDS.has(field)) fail(`Unrecognized request argument supplied: ${field}`);
  const { model, stream = false } = body;
  if (typeof model !== 'string' || model === '') fail('you must provide a model parameter');
  if (typeof stream !== 'boolean') fail('stream: must be a boolean');
  const maxTokens = body['max_completion_tokens'] ?? body['max_tokens'] ?? MAX_TOKENS_DEFAULT;
  if (!Number.isInteger(maxTokens) || Number(maxTokens) < 1) fail('max_tokens: must be a whole number, at least 1');
  if (body['reasoning_effort'] !== undefined && !EFFORTS.includes(String(body['reasoning_effort'])))
    fail(`reasoning_effort: must be one of ${EFFORTS.join(', ')}`);
  const options = body['stream_options'];
  if (options !== undefined && !(isObject(options) && stream)) fail('stream_options: only allowed as an object, with stream set to true');
  const tools = checkTools(body['tools']);
  const { system, runs } = checkMessages(body['messages']);
  return {
    // In the form in which prompts are counted; an endpoint of this kind caches by itself, without marks.
    body: { tools: body['tools'] ?? [], system },
    model,
    maxTokens: Number(maxTokens),
    stream,
    runs: runs.map(marked),
    tools: body['tool_choice'] === 'none' ? new Set() : tools,
    includeUsage: isObject(options) && options['include_usage'] === true,
  };
}

function checkTools(tools: unknown): ReadonlySet<string> {
  const names = new Set<string>();
  if (tools === undefined) return names;
  if (!Array.isArray(tools) || tools.length === 0) fail('tools: must be a list of at least one tool');
  tools.forEach((tool: unknown, at) => {
    const fn = isObject(tool) && tool['type'] === 'function' && isObject(tool['function']) ? tool['function'] : null;
    if (!fn) fail(`tools[${at}]: must be {"type": "function", "function": {…}}`);
    if (typeof fn['name'] !== 'string' || !TOOL_NAME.test(fn['name'])) fail(`tools[${at}].function.name: must match ${TOOL_NAME}`);
    if (!isObject(fn['parameters']) || fn['parameters']['type'] !== 'object')
      fail(`tools[${at}].function.parameters: must be a JSON schema of type "object"`);
    names.add(fn['name']);
  });
  return names;
}

function checkMessages(messages: unknown): { system: Block[]; runs: Run[] } {
  if (!Array.isArray(messages) || messages.length === 0) fail('messages: at least one message is required');
  const system: Block[] = [];
  const said: { role: 'user' | 'assistant'; content: Block[] }[] = [];
  /** Calls that the newest answer made and no message answered yet. */
  let open = new Set<string>();
  messages.forEach((message: unknown, at) => {
    const place = `messages[${at}]`;
    if (!isObject(message)) fail(`${place}: must be an object`);
    const role = String(message['role']);
    const fields = MESSAGE_FIELDS[role];
    if (!fields) fail(`${place}.role: must be one of ${Object.keys(MESSAGE_FIELDS).join(', ')}`);
    for (const field of Object.keys(message)) if (!fields.has(field)) fail(`${place}: unknown field ${field}`);
    if (role !== 'tool' && open.size > 0)
      fail(
        `An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: ${[...open].join(', ')}`,
      );
    if (role === 'tool') {
      const id = message['tool_call_id'];
      if (typeof id !== 'string' || !open.delete(id))
        fail(`${place}: messages with role 'tool' must be a response to a preceding message with 'tool_calls'`);
      if (typeof message['content'] !== 'string') fail(`${place}.content: must be a string`);
      const isError = message['content'].startsWith('[error] ');
      said.push({ role: 'user', content: [{ type: 'tool_result', tool_use_id: id, content: message['content'], is_error: isError }] });
    } else if (role === 'assistant') {
      const blocks = assistantBlocks(message, place);
      open = new Set(blocks.flatMap((block) => (block.type === 'tool_use' ? [String(block['id'])] : [])));
      said.push({ role: 'assistant', content: blocks });
    } else if (role === 'user') said.push({ role: 'user', content: userBlocks(message['content'], place) });
    else system.push(...userBlocks(message['content'], place));
  });
  if (open.size > 0) fail(`messages: the tool calls ${[...open].join(', ')} have no response messages`);
  return { system, runs: mergeRuns(said) };
}

function userBlocks(content: unknown, place: string): Block[] {
  if (typeof content === 'string') return [{ type: 'text', text: content }];
  if (!Array.isArray(content) || content.length === 0) fail(`${place}.content: must be a string or a list of parts`);
  return content.map((part: unknown, at): Block => {
    if (isObject(part) && part['type'] === 'text' && typeof part['text'] === 'string') return { type: 'text', text: part['text'] };
    const image = isObject(part) && part['type'] === 'image_url' && isObject(part['image_url']) ? part['image_url'] : null;
    const url = image?.['url'];
    if (typeof url !== 'string' || !/^(https?:\/\/|data:image\/[a-z+.-]+;base64,)/.test(url))
      fail(`${place}.content[${at}]: must be a text part, or an image_url part with an http or base64 data URL`);
    return { type: 'image', source: { type: 'url', url } };
  });
}

function assistantBlocks(message: Loose, place: string): Block[] {
  const { content, tool_calls: calls = [] } = message;
  if (content !== null && content !== undefined && typeof content !== 'string') fail(`${place}.content: must be a string or null`);
  if (!Array.isArray(calls)) fail(`${place}.tool_calls: must be a list`);
  const blocks: Block[] = typeof content === 'string' && content !== '' ? [{ type: 'text', text: content }] : [];
  calls.forEach((call: unknown, at) => {
    const fn = isObject(call) && call['type'] === 'function' && isObject(call['function']) ? call['function'] : null;
    const input = typeof fn?.['arguments'] === 'string' ? parsed(fn['arguments']) : null;
    if (!fn || !isObject(call) || typeof call['id'] !== 'string' || typeof fn['name'] !== 'string' || !isObject(input))
      fail(`${place}.tool_calls[${at}]: must have an id, a function name, and arguments that are a JSON object in a string`);
    blocks.push({ type: 'tool_use', id: call['id'], name: fn['name'], input });
  });
  if (blocks.length === 0) fail(`${place}: must have content or tool_calls`);
  return blocks;
}

/** The end of each user run is where such an endpoint finds and leaves what it has read before. */
function marked(run: Run): Run {
  const last = run.blocks.at(-1);
  if (run.role !== 'user' || !last) return run;
  return { ...run, blocks: [...run.blocks.slice(0, -1), { ...last, cache_control: { type: 'ephemeral' } }] };
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}
