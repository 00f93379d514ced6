/** The file sweep: periodically removes expired files, and bytes left by uploads and deletions whose process died. Every gateway runs it. */
import { ensureError, type Logger } from '@manyhands/base';
import type { SessionLog } from '@manyhands/session-log';
import type { FileStore } from '@manyhands/store';

const EVERY_MS = 60_000;

/** `stop` resolves when no sweep is under way. */
export function startFileSweep(files: FileStore, sessionLog: SessionLog, log: Logger): { stop(): Promise<void> } {
  let underWay: Promise<void> | null = null;
  const timer = setInterval(() => {
    underWay ??= files
      .sweep(sessionLog.existing)
      .then(
        (swept) => {
          if (swept > 0) log.info({ swept }, 'files swept');
        },
        (error: unknown) => log.warn({ err: ensureError(error) }, 'files were not swept; tried again'),
      )
      .finally(() => {
        underWay = null;
      });
  }, EVERY_MS);
  timer.unref();
  return {
    async stop() {
      clearInterval(timer);
      await underWay;
    },
  };
}
