/**
 * The files of a session in its sandbox. Below /mnt/session/uploads they are read-only for everybody inside; below /workspace a file is a
 * read-only copy, which the agent may put something else in the place of, as with any file of its own.
 *
 * What is mounted is noted beside the lease (`mounts.json`), before it is done and after, so that a pool that restarts goes on where the last
 * one stopped. Copies in the workspace are no part of snapshots while they are what was mounted. A restored workspace may hold what the agent
 * put in a copy's place: that stays.
 */
import path from 'node:path';
import { AppError, type Logger } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import { type MountedFile, SANDBOX_PATHS } from '@manyhands/contract';
import { z } from 'zod';
import { storedFile } from '../records/durable-file.ts';
import { lookAt, putReadOnly, removeFile, sameFacts } from './hostile-directory.ts';
import type { SandboxDirectory } from './sandbox-directory.ts';

const Facts = z.object({ ino: z.string(), size: z.number(), mtimeNs: z.string() });
const Noted = z.object({
  /** 0 while a change is under way. */
  revision: z.int(),
  files: z.record(z.string(), z.object({ blob: z.string(), facts: Facts.nullable() })),
});
type Noted = z.infer<typeof Noted>;
export const MOUNTS_FILE = storedFile(Noted, 1);

const noteFile = (directory: SandboxDirectory) => path.join(directory.root, 'mounts.json');
async function readNote(directory: SandboxDirectory): Promise<Noted | null> {
  return MOUNTS_FILE.read(noteFile(directory));
}

/** The host directory and the path below it of a path inside. */
function placeOf(directory: SandboxDirectory, inside: string): { root: string; below: string; inWorkspace: boolean } {
  for (const [root, mounted] of [
    [directory.uploads, SANDBOX_PATHS.uploads],
    [directory.workspace, SANDBOX_PATHS.workspace],
  ] as const) {
    const below = inside.slice(mounted.length + 1);
    const clean = below !== '' && below.split('/').every((name) => name !== '' && name !== '.' && name !== '..');
    if (inside.startsWith(`${mounted}/`) && clean && !inside.includes('\0'))
      return { root, below, inWorkspace: root === directory.workspace };
  }
  throw new AppError('internal', `nothing can be mounted at ${JSON.stringify(inside)}`);
}

export interface MountOptions {
  /** The workspace was restored from a snapshot. */
  restored: boolean;
  log: Logger;
}

/** Makes exactly these files be there. Not to be called twice at a time for one sandbox. */
export async function mountFiles(
  directory: SandboxDirectory,
  blobs: BlobStore,
  revision: number,
  wanted: readonly MountedFile[],
  { restored, log }: MountOptions,
): Promise<void> {
  const before = await readNote(directory);
  if (before && before.revision >= revision) return;
  const known: Noted['files'] = { ...before?.files };
  const blobAt = new Map(wanted.map((file) => [file.path, file.blob]));
  const places = new Map(wanted.map((file) => [file.path, placeOf(directory, file.path)]));
  const coming = Object.fromEntries(wanted.map(({ path: at, blob }) => [at, known[at] ?? { blob, facts: null }]));
  await MOUNTS_FILE.replace(noteFile(directory), { revision: 0, files: { ...known, ...coming } });

  for (const [at, { blob, facts }] of Object.entries(known)) {
    if (blobAt.get(at) === blob) continue;
    const { root, below, inWorkspace } = placeOf(directory, at);
    // What the agent put there is the agent's.
    if (!inWorkspace || facts === null || sameFacts(await lookAt(root, below), facts)) await removeFile(root, below);
    delete known[at];
  }
  for (const { path: at, blob } of wanted) {
    const done = known[at];
    if (done && (done.facts !== null || before?.revision !== 0)) continue;
    const { root, below, inWorkspace } = places.get(at) ?? placeOf(directory, at);
    if (inWorkspace && restored && before === null && (await lookAt(root, below)) !== null) {
      known[at] = { blob, facts: null };
      continue;
    }
    const bytes = await blobs.open(blob);
    if (!bytes) {
      // Taken away since the list was made; the next revision says so.
      log.warn({ sandbox_id: directory.id, path: at }, 'a mounted file has no bytes');
      delete known[at];
      continue;
    }
    try {
      known[at] = { blob, facts: await putReadOnly(root, below, bytes.stream) };
    } catch (error) {
      bytes.stream.destroy();
      // Something of the agent's is in the way, a directory for instance. The call that needs the file will see that it is not there.
      if (!inWorkspace) throw error;
      log.warn({ err: error, sandbox_id: directory.id, path: at }, 'a file could not be mounted');
      known[at] = { blob, facts: null };
    }
  }
  await MOUNTS_FILE.replace(noteFile(directory), { revision, files: known });
}

/** Paths inside of copies in the workspace that are still what was mounted. */
export async function mountedCopies(directory: SandboxDirectory): Promise<string[]> {
  const note = await readNote(directory);
  const copies: string[] = [];
  for (const [at, { facts }] of Object.entries(note?.files ?? {})) {
    const { root, below, inWorkspace } = placeOf(directory, at);
    if (inWorkspace && sameFacts(await lookAt(root, below), facts)) copies.push(at);
  }
  return copies;
}
