import { expect, test } from 'vitest';
import { createLogger } from '../src/index.ts';

test('an error of the Redis client is logged without the arguments of its command', () => {
  const lines: string[] = [];
  const log = createLogger('test', 'info');
  for (const symbol of Object.getOwnPropertySymbols(log))
    if (symbol.description === 'pino.stream')
      (log as unknown as Record<symbol, unknown>)[symbol] = { write: (line: string) => void lines.push(line) };
  const error = Object.assign(new Error('WRONGPASS'), { command: { name: 'auth', args: ['the-password'] } });
  log.warn({ err: error }, 'queue worker error');
  expect(lines.join()).toContain('WRONGPASS');
  expect(lines.join()).not.toContain('the-password');
});
