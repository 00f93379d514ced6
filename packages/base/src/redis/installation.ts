/**
 * The format of an installation's data, and the refusal of what a newer version wrote (DESIGN 5, I16).
 *
 * One key holds the format of the installation (see keys.ts). The number only grows. A process that finds a higher one than it knows ends: at
 * its start, and within seconds while it runs. Between the two every record is checked by itself, since each names its own format. 0.1.0 wrote
 * neither: no number means 1.
 */
import { AppError } from '../errors.ts';
import { FORMAT_KEY, SIGN_OF_0_1_0 } from '../keys.ts';
import type { Logger } from '../log.ts';
import { createScope } from '../scope.ts';
import type { Redis } from './redis.ts';

/** What this program writes. 1 was 0.1.0, which wrote no such key. */
export const FORMAT = 2;

/** KEYS: 1 format. ARGV: 1 as read, 2 new. Returns 1 if it was raised, 0 if it is not what was read any more. */
const RAISE = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end redis.call('SET', KEYS[1], ARGV[2]) return 1`;
const WATCH_EVERY_MS = 5_000;
const SHOWN_CHARS = 40;

export interface OpenOptions {
  /**
   * Makes data of an older format ready for this program. It may run again after a crash, and in several processes at once: what was done
   * already must do no harm when it is done again. Left out: nothing needs to be done but to raise the number.
   */
  upgrade?(redis: Redis, from: number): Promise<void>;
}

/**
 * Called by every process at its start, before it reads or writes anything else. An empty installation becomes one of this format, an older
 * one is upgraded, then raised; a newer one is refused with AppError `newer_format`.
 */
export async function openInstallation(redis: Redis, { upgrade }: OpenOptions = {}): Promise<void> {
  for (;;) {
    // In this order: a process of this version writes the format before anything else. So data that is there already, without a format that
    // was read after it, is of 0.1.0, whatever starts at the same time.
    const old = (await redis.exists(SIGN_OF_0_1_0)) === 1;
    const text = await redis.get(FORMAT_KEY);
    const found = text === null ? (old ? 1 : FORMAT) : parseFormat(text);
    assertInstallation(found);
    if (text === String(FORMAT)) return;
    if (typeof found === 'number' && found < FORMAT) await upgrade?.(redis, found);
    // Not raised: another process was faster. What it wrote is looked at like anything else.
    if (await raise(redis, text)) return;
  }
}

/**
 * Looks every few seconds whether a newer process raised the format; then it calls `onNewer`, once, and ends: the process has to stop, since
 * it knows nothing of what is written from now on.
 */
export function watchInstallation(
  redis: Redis,
  onNewer: (error: AppError) => void,
  log: Logger,
  everyMs = WATCH_EVERY_MS,
): { stop(): void } {
  const scope = createScope('installation');
  let failing = false;
  scope.every(
    everyMs,
    async () => {
      const text = await redis.get(FORMAT_KEY);
      failing = false;
      if (text === null || scope.signal.aborted) return;
      try {
        assertInstallation(parseFormat(text));
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        void scope.close();
        onNewer(error);
      }
    },
    (error) => {
      // A server that is away: its connection says so, and the next look comes.
      if (!failing) log.warn({ err: error }, 'the format of the installation cannot be read');
      failing = true;
    },
  );
  return { stop: () => void scope.close() };
}

/**
 * For whatever names its format: refuses a newer one, and what is no format at all, with AppError `newer_format` that names `what`, the
 * number and the remedy. None (undefined) is 1: what 0.1.0 wrote names none.
 */
export function assertFormat(what: string, found: unknown, known: number): void {
  if (found === undefined || (typeof found === 'number' && Number.isSafeInteger(found) && found >= 1 && found <= known)) return;
  const shown = (JSON.stringify(found) ?? String(found)).slice(0, SHOWN_CHARS);
  throw new AppError(
    'newer_format',
    `${what} has format ${shown}, this program knows ${known}: start a newer version, or restore a backup`,
    { details: { found, known } },
  );
}

function assertInstallation(found: unknown): void {
  assertFormat("this installation's data", found, FORMAT);
}

/** The number, or the text itself if it is none. */
function parseFormat(text: string): number | string {
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : text;
}

async function raise(redis: Redis, from: string | null): Promise<boolean> {
  if (from === null) return (await redis.set(FORMAT_KEY, String(FORMAT), 'NX')) === 'OK';
  return (await redis.eval(RAISE, 1, FORMAT_KEY, from, String(FORMAT))) === 1;
}
