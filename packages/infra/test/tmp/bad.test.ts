import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { test, expect } from 'vitest';
test.skip('skipped', () => {});
test('fails', () => {
  spawn('/bin/sleep', ['333'], { detached: true, stdio: 'ignore', env: {} }).unref();
  mkdtempSync('/tmp/manyhands-test-mine-');
  expect(1).toBe(2);
});
test('long', async () => { await new Promise((r) => setTimeout(r, 2500)); setTimeout(() => { throw new Error('late'); }, 1); await new Promise((r) => setTimeout(r, 100)); });
