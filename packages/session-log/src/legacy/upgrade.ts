/** What an installation of 0.1.0 needs before this version serves it: every session that has work is marked due in the new way. */
import type { Redis } from '@manyhands/base';
import { defineScripts } from '../scripts.ts';
import { createLegacy } from './legacy.ts';

/** May be repeated, and interrupted anywhere. */
export async function upgradeSessions(redis: Redis): Promise<void> {
  await createLegacy(defineScripts(redis)).work();
}
