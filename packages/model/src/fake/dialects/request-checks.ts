/**
 * The request as the Messages API would check it: the fake model refuses what the real endpoint refuses, with the same status and the
 * field in the message, so that a prompt that passes here is well formed there.
 */
import { createHash } from 'node:crypto';
import { systemTurns } from '@manyhands/contract';
import { type Block, blocksOf, mergeRuns, type Run } from '../conversation.ts';
import { SIGNATURE_SEED } from '../names.ts';

/** A refusal: HTTP status and type of the error envelope; a code only where chat completions have one. */
export class Refusal extends Error {
  readonly status: number;
  readonly type: string;
  readonly code: string | null;
  constructor(status: number, type: string, message: string, code: string | null = null) {
    super(message);
    this.status = status;
    this.type = type;
    this.code = code;
  }
}
function fail(message: string): never {
  throw new Refusal(400, 'invalid_request_error', message);
}

export interface CheckedRequest {
  body: Record<string, unknown>;
  model: string;
  maxTokens: number;
  stream: boolean;
  runs: Run[];
  /** Names of the tools that the model may call. */
  tools: ReadonlySet<string>;
}

const FIELDS = new Set(
  'model messages max_tokens system tools tool_choice stream temperature top_p top_k metadata thinking output_config speed service_tier inference_geo'.split(
    ' ',
  ),
);
const TOOL_NAME = /^[a-zA-Z0-9_-]{1,128}$/;
const TOOL_USE_ID = /^[a-zA-Z0-9_-]+$/;
const EFFORTS = ['low', 'medium', 'high', 'xhigh', 'max'];
const CACHE_MARKS_MAX = 4;
const USER_BLOCKS = new Set(['text', 'image', 'document', 'search_result', 'tool_result']);
const ASSISTANT_BLOCKS = new Set(['text', 'thinking', 'redacted_thinking', 'tool_use', 'server_tool_use']);

const BLOCKS = { user: USER_BLOCKS, assistant: ASSISTANT_BLOCKS, system: new Set(['text']) } as const;

/** The signature that the fake model puts under a thinking block; it must come back unchanged. */
export function thinkingSignature(thinking: string): string {
  return createHash('sha256').update(`${SIGNATURE_SEED}:${thinking}`).digest('base64');
}

/** Checks the body of `messages`, or of `count_tokens` where `max_tokens` is absent. Throws a Refusal. */
export function checkRequest(body: unknown, options: { counting: boolean; betas: ReadonlySet<string> }): CheckedRequest {
  if (!isRecord(body)) fail('the request body must be a JSON object');
  for (const field of Object.keys(body)) {
    if (field === 'stop_sequences' && Array.isArray(body[field]) && body[field].length === 0) continue;
    if (!FIELDS.has(field)) fail(`${field}: Extra inputs are not permitted`);
  }
  const { model, max_tokens: maxTokens, stream = false } = body;
  if (typeof model !== 'string' || model === '') fail('model: Field required');
  if (!options.counting && !(Number.isInteger(maxTokens) && Number(maxTokens) >= 1)) fail('max_tokens: must be a whole number, at least 1');
  if (typeof stream !== 'boolean') fail('stream: Input should be a valid boolean');
  checkConfig(body, options.betas);
  const tools = checkTools(body['tools']);
  checkSystem(body['system']);
  const runs = checkMessages(body['messages'], tools !== null, systemTurns(model) === 'turn');
  checkCacheMarks(body);
  return { body, model, maxTokens: Number(maxTokens ?? 0), stream, runs, tools: callable(tools ?? new Set(), body['tool_choice']) };
}

function checkConfig(body: Record<string, unknown>, betas: ReadonlySet<string>): void {
  const effort = isRecord(body['output_config']) ? body['output_config']['effort'] : undefined;
  if (body['output_config'] !== undefined && !isRecord(body['output_config'])) fail('output_config: Input should be an object');
  if (effort !== undefined && effort !== null && !EFFORTS.includes(String(effort)))
    fail(`output_config.effort: must be one of ${EFFORTS.join(', ')}`);
  const { speed } = body;
  if (speed !== undefined && speed !== null) {
    if (speed !== 'fast' && speed !== 'standard') fail('speed: must be "standard" or "fast"');
    if (!betas.has('fast-mode-2026-02-01')) fail('speed: this field requires the fast-mode-2026-02-01 beta header');
  }
}

function checkTools(tools: unknown): Set<string> | null {
  if (tools === undefined) return null;
  if (!Array.isArray(tools)) fail('tools: Input should be a valid list');
  const names = new Set<string>();
  tools.forEach((tool: unknown, at) => {
    if (!isRecord(tool) || typeof tool['name'] !== 'string' || !TOOL_NAME.test(tool['name']))
      fail(`tools.${at}.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'`);
    if (names.has(tool['name'])) fail('tools: Tool names must be unique.');
    names.add(tool['name']);
    const custom = tool['type'] === undefined || tool['type'] === null || tool['type'] === 'custom';
    if (custom && !(isRecord(tool['input_schema']) && tool['input_schema']['type'] === 'object'))
      fail(`tools.${at}.custom.input_schema: must be a JSON schema of type "object"`);
  });
  return names;
}

function callable(names: Set<string>, choice: unknown): ReadonlySet<string> {
  if (choice === undefined || choice === null) return names;
  const type = isRecord(choice) ? choice['type'] : null;
  if (type === 'none') return new Set();
  if (type === 'auto') return names;
  fail('tool_choice: the fake model supports {"type":"auto"} and {"type":"none"}');
}

function checkSystem(system: unknown): void {
  if (system === undefined || typeof system === 'string') return;
  if (!Array.isArray(system)) fail('system: Input should be a string or a list of text blocks');
  system.forEach((block: unknown, at) => {
    if (!isRecord(block) || block['type'] !== 'text' || typeof block['text'] !== 'string')
      fail(`system.${at}: only text blocks are allowed`);
    if (block['text'] === '') fail(`system: text content blocks must be non-empty`);
  });
}

function checkMessages(messages: unknown, toolsGiven: boolean, systemTurnsTaken: boolean): Run[] {
  if (!Array.isArray(messages) || messages.length === 0) fail('messages: at least one message is required');
  messages.forEach((message: unknown, at) => {
    if (!isRecord(message)) fail(`messages.${at}: Input should be an object`);
    const { role, content } = message;
    if (role !== 'user' && role !== 'assistant' && !(role === 'system' && systemTurnsTaken))
      fail(`messages.${at}.role: must be "user" or "assistant"`);
    if (typeof content !== 'string' && !Array.isArray(content))
      fail(`messages.${at}.content: Input should be a string or a list of blocks`);
    if (content.length === 0) fail(`messages.${at}: all messages must have non-empty content`);
    blocksOf(content).forEach((block, index) => void checkBlock(block, role, `messages.${at}.content.${index}`, toolsGiven));
  });
  messages.forEach((message: { role: string }, at) => {
    if (message.role === 'system' && (messages[at - 1] as { role?: string } | undefined)?.role === 'assistant')
      fail(`messages.${at}: a system turn follows a user turn`);
  });
  if ((messages[0] as { role: string }).role !== 'user') fail('messages: first message must use the "user" role');
  // System turns say how to go on; what is answered is what stands around them.
  const said = (messages as { role: string; content: unknown }[]).filter(({ role }) => role !== 'system');
  const runs = mergeRuns(said as { role: 'user' | 'assistant'; content: unknown }[]);
  if (runs.at(-1)!.role === 'assistant')
    fail('This model does not support assistant message prefill. The conversation must end with a user message.');
  checkPairs(runs);
  return runs;
}

function checkBlock(block: Block, role: 'user' | 'assistant' | 'system', where: string, toolsGiven: boolean): void {
  if (!isRecord(block) || typeof block.type !== 'string') fail(`${where}.type: Field required`);
  const { type } = block;
  if (!BLOCKS[role].has(type)) fail(`${where}: block type ${JSON.stringify(type)} is not allowed for the ${role} role`);
  if (type === 'text') checkText(block, where);
  if (type === 'thinking' && block['signature'] !== thinkingSignature(String(block['thinking'])))
    fail(`${where}: Invalid \`signature\` in \`thinking\` block`);
  if (type === 'tool_use' || type === 'tool_result') {
    if (!toolsGiven) fail('Requests which include `tool_use` or `tool_result` blocks must define tools');
    const id = type === 'tool_use' ? block['id'] : block['tool_use_id'];
    if (typeof id !== 'string' || !TOOL_USE_ID.test(id))
      fail(`${where}.${type === 'tool_use' ? 'id' : 'tool_use_id'}: String should match pattern '^[a-zA-Z0-9_-]+$'`);
  }
  if (type === 'tool_use') {
    if (typeof block['name'] !== 'string' || !TOOL_NAME.test(block['name']))
      fail(`${where}.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'`);
    if (!isRecord(block['input'])) fail(`${where}.input: Input should be a valid dictionary`);
  }
  if (type === 'tool_result') {
    const { content, is_error: isError } = block;
    if (isError !== undefined && typeof isError !== 'boolean') fail(`${where}.is_error: Input should be a valid boolean`);
    if (content !== undefined && typeof content !== 'string' && !Array.isArray(content))
      fail(`${where}.content: Input should be a string or a list of blocks`);
    if (Array.isArray(content))
      content.forEach((inner: unknown, at) => {
        if (!isRecord(inner)) fail(`${where}.content.${at}: Input should be an object`);
        if (inner['type'] === 'text') checkText(inner, `${where}.content.${at}`);
      });
    if (isError === true && (content === undefined || content.length === 0))
      fail(`${where}: content cannot be empty if \`is_error\` is true`);
  }
}

function checkText(block: Record<string, unknown>, where: string): void {
  if (typeof block['text'] !== 'string') fail(`${where}.text: Input should be a valid string`);
  if (block['text'] === '') fail(`${where}: text content blocks must be non-empty`);
  if (block['text'].trim() === '') fail(`${where}: text content blocks must contain non-whitespace text`);
}

/** Every tool call is answered exactly once, first thing in the message after it; nothing is answered that was not called. */
function checkPairs(runs: readonly Run[]): void {
  const seen = new Set<unknown>();
  runs.forEach((run, at) => {
    if (run.role === 'assistant') {
      const calls = run.blocks.filter((block) => block.type === 'tool_use').map((block) => block['id']);
      for (const id of calls) {
        if (seen.has(id)) fail('messages: `tool_use` ids must be unique');
        seen.add(id);
      }
      const answered = new Set((runs[at + 1]?.blocks ?? []).map((block) => block['tool_use_id']));
      const open = calls.filter((id) => !answered.has(id));
      if (open.length > 0)
        fail(
          `messages: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${open.join(', ')}. Each \`tool_use\` block must have a corresponding \`tool_result\` block in the next message.`,
        );
      return;
    }
    const calls = new Set(at > 0 ? runs[at - 1]!.blocks.filter((block) => block.type === 'tool_use').map((block) => block['id']) : []);
    const answers = new Set<unknown>();
    let other = false;
    for (const block of run.blocks) {
      if (block.type !== 'tool_result') {
        other = true;
        continue;
      }
      const id = block['tool_use_id'];
      if (!calls.has(id))
        fail(
          `messages: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${String(id)}. Each \`tool_result\` block must have a corresponding \`tool_use\` block in the previous message.`,
        );
      if (answers.has(id))
        fail(`messages: each tool_use must have a single result. Found multiple \`tool_result\` blocks with id: ${String(id)}`);
      if (other) fail('messages: `tool_result` blocks must come first in the content of the message that answers tool calls');
      answers.add(id);
    }
  });
}

function checkCacheMarks(body: Record<string, unknown>): void {
  let marks = 0;
  const look = (blocks: unknown): void => {
    if (!Array.isArray(blocks)) return;
    for (const block of blocks) {
      if (!isRecord(block)) continue;
      const mark = block['cache_control'];
      if (mark !== undefined && mark !== null) {
        marks += 1;
        if (!isRecord(mark) || mark['type'] !== 'ephemeral') fail('cache_control.type: must be "ephemeral"');
        else if (mark['ttl'] !== undefined && mark['ttl'] !== '5m' && mark['ttl'] !== '1h') fail('cache_control.ttl: must be "5m" or "1h"');
        if (block['type'] === 'thinking') fail('cache_control cannot be set for thinking blocks');
      }
      if (block['type'] === 'tool_result') look(block['content']);
    }
  };
  look(body['tools']);
  look(body['system']);
  for (const message of body['messages'] as { content: unknown }[]) look(message.content);
  if (marks > CACHE_MARKS_MAX) fail(`A maximum of ${CACHE_MARKS_MAX} blocks with cache_control may be provided. Found ${marks}.`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
