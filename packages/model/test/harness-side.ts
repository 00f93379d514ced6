/** What tests need on the client's side: an adapter, a recording listener, a plain request. */
import { createLogger } from '@manyhands/base';
import { createAnthropicModel, type ModelClient, type ModelListener, type ModelRequest } from '../src/index.ts';
import { type DoubleScript, doubleScript } from '../src/testing.ts';

export const KEY = 'sk-test-0123456789abcdef';
const log = createLogger('test', 'silent');

export function modelFor(baseUrl: string, stallTimeoutMs = 20_000): ModelClient {
  return createAnthropicModel({ baseUrl, apiKey: KEY, log, stallTimeoutMs });
}

export interface Recorder extends ModelListener {
  texts: string[];
  kinds: string[];
}
export function recorder(): Recorder {
  const texts: string[] = [];
  const kinds: string[] = [];
  return {
    texts,
    kinds,
    onBlockStart: (index, kind) => void kinds.push(`${index}:${kind}`),
    onText: (_index, text) => void texts.push(text),
  };
}

export const BASH = { name: 'bash', description: 'Runs a command', input_schema: { type: 'object' as const } };

export function ask(said: string, extra: Partial<ModelRequest> = {}): ModelRequest {
  return {
    model: 'manyhands-double',
    system: [],
    messages: [{ role: 'user', content: [{ type: 'text', text: said }] }],
    tools: [BASH],
    maxTokens: 10_000,
    sessionId: 'sesn_test',
    ...extra,
  };
}
export const askScript = (script: DoubleScript, extra: Partial<ModelRequest> = {}): ModelRequest => ask(doubleScript(script), extra);
export const never = new AbortController().signal;
