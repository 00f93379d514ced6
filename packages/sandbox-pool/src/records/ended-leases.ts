/**
 * The generations that are over. A lease that ended is never given again under its number, also not after a restart: whoever asks for it
 * believes in calls that ran there, and a fresh sandbox under the same number would run them twice (I4).
 *
 * One small file per session in `<pool root>/.ended/`, holding the highest generation that ended; swept after a day.
 */
import { mkdir, readdir, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import type { Clock } from '@manyhands/base';
import { z } from 'zod';
import { storedFile } from './durable-file.ts';

const KEPT_MS = 24 * 60 * 60 * 1000;
/** In the pool's directory. */
export const ENDED_DIRECTORY = '.ended';
export const ENDED_FILE = storedFile(z.object({ generation: z.int() }), 1);

export interface EndedLeases {
  /** The highest generation of the session that ended here; 0 if none is known. */
  lastGeneration(sessionId: string): Promise<number>;
  note(sessionId: string, generation: number): Promise<void>;
  sweep(): Promise<void>;
}

export async function openEndedLeases(poolRoot: string, clock: Clock): Promise<EndedLeases> {
  const directory = path.join(poolRoot, ENDED_DIRECTORY);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const fileOf = (sessionId: string) => path.join(directory, `${sessionId}.json`);
  async function lastGeneration(sessionId: string): Promise<number> {
    return (await ENDED_FILE.read(fileOf(sessionId)))?.generation ?? 0;
  }
  return {
    lastGeneration,
    async note(sessionId, generation) {
      if ((await lastGeneration(sessionId)) < generation) await ENDED_FILE.writeDurably(fileOf(sessionId), { generation });
    },
    async sweep() {
      for (const name of await readdir(directory)) {
        const file = path.join(directory, name);
        const age = clock.now() - ((await stat(file).catch(() => null))?.mtimeMs ?? clock.now());
        if (age > KEPT_MS) await unlink(file).catch(() => {});
      }
    },
  };
}
