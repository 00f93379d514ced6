/**
 * Workspaces to and from the blob store, through the exchange directory of the sandbox. The sandbox daemon makes and unpacks the archive; what
 * it leaves there is hostile: opened without following links, read only if it is a regular file, and no further than it was long when opened.
 */
import { randomBytes } from 'node:crypto';
import { constants, createWriteStream } from 'node:fs';
import { open, unlink } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { AppError } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import type { RunningSandbox } from '../drivers/driver.ts';

const DAEMON_DEADLINE_MS = 10 * 60_000;
const exchangeName = () => `workspace-${randomBytes(8).toString('hex')}.tar.gz`;

/** Returns when the whole snapshot, without the paths to exclude, is durable under `key`; until then an older one stays as it is. */
export async function saveSnapshot(
  sandbox: RunningSandbox,
  blobs: BlobStore,
  key: string,
  exclude: readonly string[] = [],
): Promise<{ bytes: number }> {
  const name = exchangeName();
  const file = path.join(sandbox.directory.exchange, name);
  try {
    await sandbox.channel.request({ op: 'snapshot', name, ...(exclude.length === 0 ? {} : { exclude: [...exclude] }) }, DAEMON_DEADLINE_MS);
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const facts = await handle.stat();
      if (!facts.isFile() || facts.size === 0) throw new AppError('internal', 'the snapshot of the sandbox is not a file');
      const stored = await blobs.put(key, handle.createReadStream({ start: 0, end: facts.size - 1, autoClose: false }));
      if (stored.bytes !== facts.size) throw new AppError('internal', 'the snapshot of the sandbox changed while it was read');
      return stored;
    } finally {
      await handle.close();
    }
  } finally {
    await unlink(file).catch(() => {});
  }
}

/** Unpacks the snapshot under `key`. Throws `internal` with details.missing if there is none; nothing was touched then. */
export async function restoreSnapshot(sandbox: RunningSandbox, blobs: BlobStore, key: string): Promise<void> {
  const blob = await blobs.open(key);
  if (!blob) throw new AppError('internal', `there is no workspace snapshot under ${key}`, { details: { missing: true } });
  const name = exchangeName();
  const file = path.join(sandbox.directory.exchange, name);
  try {
    // `wx`: never through something that is there already. Readable for the user inside, writable for nobody.
    await pipeline(blob.stream, createWriteStream(file, { flags: 'wx', mode: 0o444 }));
    await sandbox.channel.request({ op: 'restore', name }, DAEMON_DEADLINE_MS);
  } finally {
    await unlink(file).catch(() => {});
  }
}
