/**
 * What an agent left in /mnt/session/outputs becomes files of its session before idle is told (I6). A file whose content changed is replaced by
 * one with a new id, so that an id names the same bytes for as long as it lives; one that the agent deleted stays; one that a client deleted
 * does not come back while it stays as it was.
 *
 * Whoever does this half-way and dies is repeated by the next worker: ids are made from what is captured, so the same capture makes the same
 * files. A sandbox that is gone or silent holds idle up for seconds at most, and is looked at again when the session is idle next.
 */
import { createHash } from 'node:crypto';
import { ensureError, type Logger } from '@manyhands/base';
import { ID_PREFIX, type OutputFile } from '@manyhands/contract';
import type { SessionRecord } from '@manyhands/session-log';
import { mediaTypeOf } from '@manyhands/store';
import type { SandboxExecutor } from '@manyhands/tools';
import type { HarnessDeps } from '../thread/turn.ts';

const ID_CHARS = 32;

/** `before`: the file that it replaces, so that content that comes back gets an id of its own. */
function outputId(sessionId: string, { path, sha256 }: OutputFile, before: string): string {
  const digest = createHash('sha256')
    .update(JSON.stringify([sessionId, path, sha256, before]))
    .digest('hex');
  return ID_PREFIX.file + digest.slice(0, ID_CHARS);
}

export async function captureOutputs(
  deps: Pick<HarnessDeps, 'files' | 'clock'>,
  record: SessionRecord,
  sandbox: Pick<SandboxExecutor, 'outputs' | 'collect'>,
  log: Logger,
): Promise<void> {
  const { files, clock } = deps;
  const { workspace_id, id: sessionId } = record;
  const startedAtMs = clock.now();
  try {
    const found = await sandbox.outputs();
    if (!found || found.length === 0) return;
    const captured = await files.outputs(workspace_id, sessionId);
    for (const { replaced } of captured.values()) for (const file of replaced) await files.dropReplaced(workspace_id, file);
    const wanted = found.flatMap((output) => {
      const before = captured.get(output.path);
      if (before?.sha256 === output.sha256) return [];
      return [{ output, before, file_id: outputId(sessionId, output, before?.current?.id ?? '') }];
    });
    if (wanted.length === 0) return;
    const renewed = () => Promise.all(wanted.map(({ file_id }) => files.pending(workspace_id, sessionId, file_id)));
    await renewed();
    const stored = await sandbox.collect(wanted.map(({ output, file_id }) => ({ path: output.path, file_id })));
    const storedAs = new Map(stored.map((one) => [one.file_id, one]));
    for (const { output, before, file_id } of wanted) {
      const one = storedAs.get(file_id);
      if (!one) {
        await files.abandon(workspace_id, sessionId, file_id);
        continue;
      }
      await files.create(workspace_id, {
        ...{ id: file_id, filename: output.path, mime_type: mediaTypeOf(output.path), size_bytes: one.size, expires_at_ms: null },
        ...{ session_id: sessionId, origin: { kind: 'output', path: output.path, sha256: one.sha256 } },
      });
      if (before?.current) await files.dropReplaced(workspace_id, before.current);
    }
    log.info({ op: 'outputs', ok: true, files: stored.length, durationMs: clock.now() - startedAtMs }, 'outputs captured');
  } catch (error) {
    log.warn({ op: 'outputs', ok: false, err: ensureError(error), durationMs: clock.now() - startedAtMs }, 'outputs were not captured');
  }
}
