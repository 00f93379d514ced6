/**
 * What a session left below /mnt/session/outputs: listed with its hash, and stored as files of the session when asked for. Read from the host,
 * so that it works also when the sandbox daemon is gone; what is found there is hostile (hostile-directory.ts).
 *
 * Only regular files count; links and special files are left out. A file is hashed again only when the kernel says that it changed: inode, size,
 * time of modification and time of change, the last of which nobody inside can set.
 */

import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import { type FileHandle, lstat, readdir } from 'node:fs/promises';
import { Transform } from 'node:stream';
import type { BlobStore } from '@manyhands/blobs';
import { FILE_MAX_BYTES, type OutputFile } from '@manyhands/contract';
import { isMissing, openDirectory, openRegular, openRoot, within } from './hostile-directory.ts';

const FILES_MAX = 1_000;
const DEPTH_MAX = 16;
const PATH_MAX_CHARS = 512;
/** Entries of all kinds that are looked at. */
const ENTRIES_MAX = 20_000;
const CONTROL = /[\u0000-\u001f\u007f]/;
const LEFT_OUT_MAX = 20;

interface Facts {
  dev: bigint;
  ino: bigint;
  size: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
}
const signature = ({ dev, ino, size, mtimeNs, ctimeNs }: Facts) => `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;

export interface OutputsFound {
  files: OutputFile[];
  leftOut: string[];
}
/** Keeps the hashes of one sandbox's outputs. */
export function createOutputs(root: string, blobs: BlobStore) {
  let hashes = new Map<string, { signature: string; sha256: string }>();

  async function hashOf(file: FileHandle): Promise<{ size: number; sha256: string }> {
    const hash = createHash('sha256');
    let size = 0;
    for await (const chunk of file.createReadStream({ start: 0, end: FILE_MAX_BYTES - 1, autoClose: false })) {
      size += (chunk as Buffer).length;
      hash.update(chunk as Buffer);
    }
    return { size, sha256: hash.digest('hex') };
  }

  async function list(): Promise<OutputsFound> {
    const files: OutputFile[] = [];
    const leftOut: string[] = [];
    const next: typeof hashes = new Map();
    let entries = 0;
    const omit = (path: string, why: string) => {
      if (leftOut.length < LEFT_OUT_MAX) leftOut.push(`${JSON.stringify(path)} ${why}`);
    };

    async function look(directory: FileHandle, prefix: string, depth: number): Promise<void> {
      const names = await readdir(`/proc/self/fd/${directory.fd}`, { encoding: 'buffer' });
      names.sort(Buffer.compare);
      for (const raw of names) {
        const path = prefix + raw.toString('utf8');
        if (++entries > ENTRIES_MAX) return omit(path, `and what comes after it: more than ${ENTRIES_MAX} entries`);
        if (!isUtf8(raw) || CONTROL.test(path) || path.length > PATH_MAX_CHARS) {
          omit(path, 'has a name that a file cannot have');
          continue;
        }
        try {
          const facts = await lstat(within(directory, raw), { bigint: true });
          if (facts.isDirectory()) {
            if (depth >= DEPTH_MAX) {
              omit(path, `is a directory deeper than ${DEPTH_MAX}`);
              continue;
            }
            const below = await openDirectory(directory, raw);
            try {
              await look(below, `${path}/`, depth + 1);
            } finally {
              await below.close();
            }
          } else if (!facts.isFile()) omit(path, 'is no regular file');
          else if (facts.size > BigInt(FILE_MAX_BYTES)) omit(path, `is larger than ${FILE_MAX_BYTES} bytes`);
          else if (files.length >= FILES_MAX) omit(path, `is one more than ${FILES_MAX} files`);
          else await take(directory, raw, path, facts);
        } catch (error) {
          if (!isMissing(error)) omit(path, `could not be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`);
        }
      }
    }
    async function take(directory: FileHandle, raw: Buffer, path: string, facts: Facts): Promise<void> {
      const known = hashes.get(path);
      if (known?.signature === signature(facts)) {
        next.set(path, known);
        files.push({ path, size: Number(facts.size), sha256: known.sha256 });
        return;
      }
      const file = await openRegular(directory, raw);
      if (!file) return omit(path, 'is no regular file');
      try {
        const before = await file.stat({ bigint: true });
        const hashed = await hashOf(file);
        const after = await file.stat({ bigint: true });
        // One that changes while it is read is looked at again next time.
        if (signature(before) === signature(after)) next.set(path, { signature: signature(after), sha256: hashed.sha256 });
        files.push({ path, ...hashed });
      } finally {
        await file.close();
      }
    }

    const directory = await openRoot(root);
    try {
      await look(directory, '', 1);
    } finally {
      await directory.close();
    }
    hashes = next;
    return { files, leftOut };
  }

  async function openPath(path: string): Promise<FileHandle | null> {
    const names = path.split('/');
    const last = names.pop() ?? '';
    let directory = await openRoot(root);
    try {
      for (const name of names) {
        const below = await openDirectory(directory, name);
        await directory.close();
        directory = below;
      }
      return await openRegular(directory, last);
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    } finally {
      await directory.close();
    }
  }

  /** Stores the file as it is now under `key`; null if it is not there any more. */
  async function store(path: string, key: string): Promise<OutputFile | null> {
    const file = await openPath(path);
    if (!file) return null;
    try {
      const hash = createHash('sha256');
      let size = 0;
      const counted = new Transform({
        transform(chunk: Buffer, _encoding, done) {
          size += chunk.length;
          hash.update(chunk);
          done(null, chunk);
        },
      });
      // A file that grows all the while is cut where it was when it was opened.
      const { size: opened } = await file.stat();
      const end = Math.min(opened, FILE_MAX_BYTES) - 1;
      if (end < 0) await blobs.put(key, Buffer.alloc(0));
      else {
        const reading = file.createReadStream({ start: 0, end, autoClose: false });
        reading.on('error', (error) => counted.destroy(error));
        await blobs.put(key, reading.pipe(counted));
      }
      return { path, size, sha256: hash.digest('hex') };
    } finally {
      await file.close();
    }
  }

  return { list, store };
}
