import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { writeCompatibility } from './compatibility.ts';

test('docs/compatibility.md says what the promises say; if not, type: npm run compatibility', { timeout: 60_000 }, async () => {
  expect(readFileSync(path.join(import.meta.dirname, '../../docs/compatibility.md'), 'utf8')).toBe(await writeCompatibility());
});
