import { mkdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { temporaryDirectory } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { createDirectoryBlobStore } from '../src/index.ts';

test('a store whose directory is away answers unavailable, makes none anew, and has everything once it is back', async () => {
  await using directory = await temporaryDirectory('blobs');
  const root = path.join(directory.path, 'blobs');
  const away = path.join(directory.path, 'away');
  const blobs = createDirectoryBlobStore(root);
  await blobs.put('w/s/a', Buffer.from('kept'));
  await rename(root, away);
  const unavailable = { code: 'unavailable', retryable: true };
  await expect(blobs.get('w/s/a')).rejects.toMatchObject(unavailable);
  await expect(blobs.open('w/s/a')).rejects.toMatchObject(unavailable);
  await expect(blobs.put('w/s/b', Buffer.from('x'))).rejects.toMatchObject(unavailable);
  await expect(blobs.copy('w/s/a', 'w/s/c')).rejects.toMatchObject(unavailable);
  await rename(away, root);
  expect((await blobs.get('w/s/a'))?.toString()).toBe('kept');
  expect(await blobs.get('w/s/b')).toBeNull();
});

test('a store that nobody wrote to yet is empty', async () => {
  await using directory = await temporaryDirectory('blobs');
  const root = path.join(directory.path, 'deep', 'blobs');
  const blobs = createDirectoryBlobStore(root);
  expect(await blobs.get('w/s/a')).toBeNull();
  await blobs.put('w/s/a', Buffer.from('x'));
  expect((await blobs.get('w/s/a'))?.toString()).toBe('x');
  await mkdir(root, { recursive: true });
});
