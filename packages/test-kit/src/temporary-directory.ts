/** Private directories that vanish. Their common prefix lets the test run check that none stays. */
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Every temporary directory of a test starts with this. */
export const TEMPORARY_PREFIX = 'manyhands-test-';

export interface TemporaryDirectory extends AsyncDisposable {
  readonly path: string;
  remove(): Promise<void>;
}

/** The run of the whole suite that a directory belongs to; a test file run by hand belongs to none. */
const RUN = process.env['MANYHANDS_TEST_RUN'] ?? 'solo';

/** `name` helps to recognise the directory while it exists. */
export async function temporaryDirectory(name = 'dir'): Promise<TemporaryDirectory> {
  const path = await realpath(await mkdtemp(join(tmpdir(), `${TEMPORARY_PREFIX}${RUN}-${name}-`)));
  const remove = () => rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  return { path, remove, [Symbol.asyncDispose]: remove };
}
