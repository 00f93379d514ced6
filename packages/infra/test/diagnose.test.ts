import { temporaryDirectory } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { diagnose } from '../src/diagnose.js';

test('the diagnosis names everything that is needed, and every problem comes with a remedy', async () => {
  await using cache = await temporaryDirectory('empty-cache');
  const findings = await diagnose({ cacheDir: cache.path, dataDir: cache.path });
  expect(findings.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['Node.js', 'npm', 'redis', 'nats', 'ripgrep', 'bubblewrap', 'Docker engine', 'setpriv', 'disk space']),
  );
  expect(findings.find(({ name }) => name === 'Node.js')).toEqual({
    name: 'Node.js',
    ok: true,
    optional: false,
    found: process.versions.node,
    remedy: null,
  });
  for (const finding of findings.filter(({ ok, optional }) => !ok && !optional)) expect(finding.remedy, finding.name).toBeTruthy();
  for (const finding of findings) expect(finding.found, finding.name).not.toBe('');
});
