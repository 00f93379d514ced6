/** The SDK from before 1.0, unmodified, as a client of a stack. */
import Legacy, { type ClientOptions } from 'anthropic-sdk-legacy';
import { watch } from './observe.ts';
import { OPERATOR_KEY, type Stack } from './stack.ts';

export function legacyClient(stack: Stack, more: ClientOptions = {}): Legacy {
  return new Legacy({ baseURL: stack.url(), apiKey: OPERATOR_KEY, maxRetries: 0, ...more, fetch: watch(more.fetch ?? fetch) });
}
