/** The program for new users is written in one place. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { snippet } from '../src/snippet.ts';

test('README.md shows the program that `up` prints', () => {
  const readme = readFileSync(join(import.meta.dirname, '..', 'README.md'), 'utf8');
  const shown = /```js\n([\s\S]*?)```/.exec(readme)?.[1];
  expect(shown).toBe(snippet({ url: 'http://127.0.0.1:8400', apiKey: 'mh-your-key', model: 'claude-opus-4-8' }));
});

test('values are quoted, whatever is in them', () => {
  expect(snippet({ url: "http://h/it's", apiKey: 'a\\b', model: 'm' })).toContain("baseURL: 'http://h/it\\'s',\n  apiKey: 'a\\\\b',");
});
