import type { SessionLog, StoredSession } from '@manyhands/session-log';
import { describe, expect, test } from 'vitest';
import { confirm } from '../src/worker/worker.ts';

type State = Partial<StoredSession['state']>;
const log = (state: State | null): Pick<SessionLog, 'get'> => ({
  get: async () => (state === null ? null : ({ state: { archived_at_ms: null, sandbox: null, ...state } } as StoredSession)),
});
const ask = async (state: State | null) => (await confirm(log(state), { session_id: 'sesn_a', generation: 2, sandbox_id: 'sbx_a' })).wanted;
const at = (generation: number, sandbox_id: string | null) => ({ sandbox: { pool_id: sandbox_id && 'pool_a', sandbox_id, generation } });

describe('a sandbox that nobody used lately', () => {
  test('is wanted while it is the one that the session has', async () => {
    expect(await ask(at(2, 'sbx_a'))).toBe(true);
  });
  test('is wanted while the session may not know of it yet', async () => {
    expect(await ask({})).toBe(true);
    expect(await ask(at(1, null))).toBe(true);
    expect(await ask(at(1, 'sbx_old'))).toBe(true);
  });
  test('is not wanted once it was given up or replaced', async () => {
    expect(await ask(at(2, null))).toBe(false);
    expect(await ask(at(2, 'sbx_other'))).toBe(false);
    expect(await ask(at(3, 'sbx_next'))).toBe(false);
  });
  test('is not wanted by a session that is archived or deleted', async () => {
    expect(await ask({ ...at(2, 'sbx_a'), archived_at_ms: 1 })).toBe(false);
    expect(await ask(null)).toBe(false);
  });
});
