/** The driver's notes about one sandbox, in `<directory>/driver/`. They are all that a new pool process knows, so they come before the act. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import type { SandboxDirectory } from '../../files/sandbox-directory.ts';
import { storedFile } from '../../records/durable-file.ts';
import { currentBootId, type ProcessIdentity, parseStat } from '../process-identity.ts';

const Intent = z.object({ uid: z.int().nullable(), boot_id: z.string() });
export type Intent = z.infer<typeof Intent>;
export const INTENT_FILE = storedFile(Intent, 1);

const intentFile = (directory: SandboxDirectory) => path.join(directory.driver, 'intent.json');

/** Written before the holder is started: under which user, in which boot. */
export function writeIntent(directory: SandboxDirectory, uid: number | null): Promise<void> {
  return INTENT_FILE.writeDurably(intentFile(directory), { uid, boot_id: currentBootId() });
}
export function readIntent(directory: SandboxDirectory): Promise<Intent | null> {
  return INTENT_FILE.read(intentFile(directory));
}

/** Who the holder is, from the line it wrote about itself; null if it never came so far. */
export function readHolder(directory: SandboxDirectory, intent: Intent): ProcessIdentity | null {
  try {
    const stat = parseStat(readFileSync(path.join(directory.driver, 'holder'), 'utf8'));
    return stat && { pid: stat.pid, start_ticks: stat.startTicks, boot_id: intent.boot_id };
  } catch {
    return null;
  }
}

/** The first process inside, as a pid of the host; null if bwrap has not told it. */
export function readInitPid(directory: SandboxDirectory): number | null {
  try {
    const information: unknown = JSON.parse(readFileSync(path.join(directory.driver, 'information'), 'utf8'));
    const parsed = z.object({ 'child-pid': z.int().min(2) }).safeParse(information);
    return parsed.success ? parsed.data['child-pid'] : null;
  } catch {
    return null;
  }
}

/** The end of what bwrap and the daemon wrote to stderr. */
export function readLogTail(directory: SandboxDirectory): string {
  try {
    return readFileSync(path.join(directory.driver, 'log'), 'utf8').slice(-2_000).trim();
  } catch {
    return '';
  }
}
