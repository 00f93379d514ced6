/** The environment of the sandbox pool; read once by main.ts. */
import { availableParallelism, totalmem } from 'node:os';
import { commonEnv, drainEnv, envInt } from '@manyhands/base';
import { z } from 'zod';
import { imageEnv } from '../images/image-env.ts';

const MIB = 1024 * 1024;
/** What one idle sandbox takes, roughly: a Node process. */
const IDLE_SANDBOX_MB = 128;
const MAX_PER_CORE = 32;

export const PoolEnv = z.object({
  ...commonEnv,
  /** On SIGTERM, calls that run in sandboxes get this long to finish before they are cut off. */
  ...drainEnv,
  /** Which egress process serves this host's sandboxes. */
  MANYHANDS_HOST_ID: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be letters, digits, _ and -')
    .default('local'),
  MANYHANDS_SANDBOX_DRIVER: z.enum(['bubblewrap', 'docker'], { error: 'must be "bubblewrap" or "docker"' }).default('bubblewrap'),
  ...imageEnv,
  /** A runtime that the Docker engine knows, such as runsc; its default if not given. */
  MANYHANDS_SANDBOX_RUNTIME: z.string().optional(),
  /** Path of bwrap; PATH is searched if it is only a name. */
  MANYHANDS_BWRAP: z.string().default('bwrap'),
  /** Path of ripgrep, for the grep tool; without it the sandbox has the host's, if any. */
  MANYHANDS_RG: z.string().optional(),
  /** Path of the program of the sandbox daemon (hand.mjs); the one of this checkout if not given. */
  MANYHANDS_HAND: z.string().optional(),
  /** Running sandboxes kept ready. */
  MANYHANDS_POOL_WARM: envInt(2, 0, 1_000),
  /** Sandboxes at most; from memory and cores if not given. */
  MANYHANDS_POOL_MAX: envInt(defaultMaximum(availableParallelism(), totalmem()), 1, 10_000),
  /** How long an idle sandbox is kept, milliseconds. */
  MANYHANDS_SANDBOX_GRACE_MS: envInt(60_000, 0, 86_400_000),
  /** How long a lease lasts that nobody uses, milliseconds. */
  MANYHANDS_SANDBOX_IDLE_MS: envInt(30 * 60_000, 1_000, 86_400_000),
  MANYHANDS_SANDBOX_MEMORY_MB: envInt(512, 128, 1_048_576),
  /** Processes and threads in a sandbox. */
  MANYHANDS_SANDBOX_PIDS: envInt(256, 32, 100_000),
  /** off: sandboxes have no way out. */
  MANYHANDS_EGRESS: z.enum(['on', 'off']).default('on'),
});
export type PoolEnv = z.infer<typeof PoolEnv>;

/** Half the memory in idle sandboxes, but no more than the cores can bear; at least 4. */
export function defaultMaximum(cores: number, memoryBytes: number): number {
  return Math.max(4, Math.min(cores * MAX_PER_CORE, Math.floor(memoryBytes / 2 / (IDLE_SANDBOX_MB * MIB))));
}
/** Sandboxes made at the same time (SANDBOX 7). */
export function creationConcurrency(cores: number): number {
  return Math.max(2, Math.min(4, cores));
}
