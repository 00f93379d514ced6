/** Files into and out of real sandboxes: mounting, the outputs, and a sandbox that plays tricks on the pool. */
import { createHash } from 'node:crypto';
import { lstat, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { CollectReply, fileBlobKey, MountReply, OutputsReply, type SandboxVerb, sandboxSubject } from '@manyhands/contract';
import { startTestNats, type TestServer } from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import type { Given } from './pool-client.ts';
import { type PoolHost, startPoolHost } from './pool-host.ts';

let nats: TestServer;
let host: PoolHost;
beforeAll(async () => {
  nats = await startTestNats();
  host = await startPoolHost(nats, { graceMs: 0, max: 8 });
});
afterAll(async () => {
  await host[Symbol.asyncDispose]();
  await nats[Symbol.asyncDispose]();
});

const UPLOADS = '/mnt/session/uploads';
let sessions = 0;
async function leased(session = `sesn_${++sessions}`, generation = 1, restore_from: string | null = null) {
  const given = await host.client.leased(session, generation, { restore_from });
  const ask = async <T>(verb: SandboxVerb, body: object, reply: z.ZodType<T>): Promise<T> => {
    for (;;) {
      const answer = await host.client.messaging.request(
        sandboxSubject(given.pool_id, given.sandbox_id, verb),
        { session_id: session, generation: given.generation, ...body },
        reply,
        25_000,
      );
      if ((answer as { pending?: boolean }).pending !== true) return answer;
    }
  };
  return {
    ...{ session, given, directory: path.join(host.poolRoot, given.sandbox_id) },
    bash: (command: string) => host.client.bash(given as Given, command),
    async mount(revision: number, files: Record<string, string>) {
      const listed = [];
      for (const [at, text] of Object.entries(files)) {
        const blob = `wrkspc_a/${session}/files/file_${createHash('sha1').update(text).digest('hex')}/content`;
        await host.blobs.put(blob, Buffer.from(text));
        listed.push({ path: at, blob });
      }
      return ask('mount', { revision, files: listed }, MountReply);
    },
    outputs: () => ask('outputs', {}, OutputsReply),
    collect: (files: { path: string; file_id: string }[]) => ask('collect', { files }, CollectReply),
    park: () => host.client.ask(given, 'park', { snapshot_key: `wrkspc_a/${session}/snapshots/workspace-${generation}.tar.gz` }),
  };
}

describe('mounted files', () => {
  test('are there with the next call, change with the revision, and go when they are taken away', async () => {
    const sandbox = await leased();
    expect(await sandbox.mount(1, { [`${UPLOADS}/a/b.txt`]: 'one', '/workspace/deep/c.txt': 'two' })).toEqual({
      ...{ ok: true, pending: false, uses: 1 },
    });
    expect(await sandbox.bash(`cat ${UPLOADS}/a/b.txt deep/c.txt; stat -c %a deep/c.txt; touch deep/own && echo mine`)).toBe(
      'onetwo444\nmine',
    );
    expect(await sandbox.bash(`echo x > ${UPLOADS}/new 2>&1; echo x > deep/c.txt; echo $?`)).toMatch(/1$/);
    await sandbox.mount(2, { [`${UPLOADS}/a/b.txt`]: 'other' });
    expect(await sandbox.bash(`cat ${UPLOADS}/a/b.txt; ls deep`)).toBe('otherown');
    // From a thread that is behind: it takes nothing back.
    expect(await sandbox.mount(1, { [`${UPLOADS}/a/b.txt`]: 'one' })).toMatchObject({ ok: true });
    expect(await sandbox.bash(`cat ${UPLOADS}/a/b.txt`)).toBe('other');
    await sandbox.mount(3, {});
    expect(await sandbox.bash(`ls -A ${UPLOADS}`)).not.toContain('a');
  });

  test('are mounted anew in the next sandbox; what the agent put in the place of one stays, what it only had is not kept twice', async () => {
    const files = { [`${UPLOADS}/a`]: 'upload', '/workspace/kept': 'kept', '/workspace/replaced': 'original' };
    const first = await leased();
    await first.mount(1, files);
    await first.bash('mv replaced old && echo mine > replaced && echo own > own');
    await first.park();
    const key = `wrkspc_a/${first.session}/snapshots/workspace-1.tar.gz`;
    for (;;)
      if ((await host.blobs.open(key).then((blob) => blob?.stream.destroy())) && host.pool.find(first.given.sandbox_id) === null) break;
    const second = await leased(first.session, 2, key);
    expect(await second.bash('ls')).toBe('old\nown\nreplaced');
    await second.mount(1, files);
    expect(await second.bash(`cat ${UPLOADS}/a kept replaced`)).toBe('uploadkeptmine');
  });

  test('never leave the sandbox, whatever links it puts in their way', async () => {
    const sandbox = await leased();
    const outside = path.join(host.poolRoot, '..', 'outside');
    await mkdir(outside, { recursive: true });
    // As the agent could: a link where a parent directory should be, and one where the file should be.
    await symlink(outside, path.join(sandbox.directory, 'workspace', 'trap'));
    await symlink(path.join(outside, 'file'), path.join(sandbox.directory, 'workspace', 'linked'));
    await writeFile(path.join(outside, 'file'), 'untouched');
    expect(await sandbox.mount(1, { '/workspace/trap/x': 'bad', '/workspace/linked': 'good', '/workspace/fine': 'fine' })).toMatchObject({
      ok: true,
    });
    await expect(lstat(path.join(outside, 'x'))).rejects.toThrow('ENOENT');
    expect(await readFile(path.join(outside, 'file'), 'utf8')).toBe('untouched');
    expect(await sandbox.bash('cat linked fine')).toBe('goodfine');
    for (const at of ['/etc/passwd', '/workspace/../x', `${UPLOADS}/../../x`, '/workspace', 'relative'])
      expect(await sandbox.mount(9, { [at]: 'x' }), at).toMatchObject({ ok: false, error: { code: 'invalid_request' } });
  });
});

describe('outputs', () => {
  test('are listed with their hash and stored as they are; links and special files are not', async () => {
    const sandbox = await leased();
    expect(await sandbox.outputs()).toMatchObject({ ok: true, files: [] });
    await sandbox.bash(
      'cd /mnt/session/outputs && mkdir -p s/t && printf hello > s/t/a.txt && : > empty && ln -s /etc/passwd link && ln -s / up && mkfifo pipe',
    );
    const sha256 = createHash('sha256').update('hello').digest('hex');
    const found = await sandbox.outputs();
    expect(found).toMatchObject({
      files: [
        { path: 'empty', size: 0 },
        { path: 's/t/a.txt', size: 5, sha256 },
      ],
    });
    expect(await sandbox.outputs()).toEqual(found);
    expect(
      await sandbox.collect([
        { path: 's/t/a.txt', file_id: 'file_1' },
        { path: 'gone', file_id: 'file_2' },
        { path: 'link', file_id: 'file_3' },
      ]),
    ).toEqual({
      ...{ ok: true, pending: false },
      stored: [{ path: 's/t/a.txt', file_id: 'file_1', size: 5, sha256 }],
    });
    expect(String(await host.blobs.get(fileBlobKey('wrkspc_a', sandbox.session, 'file_1')))).toBe('hello');
    for (const bad of ['../lease.json', '/etc/passwd', 's//t', '', 'up/etc/passwd'])
      expect(JSON.stringify(await sandbox.collect([{ path: bad, file_id: 'file_9' }])), bad).not.toContain('file_9"');
  });

  test('that change are told with their new hash, also when time and size are put back', async () => {
    const sandbox = await leased();
    await sandbox.bash('cd /mnt/session/outputs && printf aaaa > f && touch -d 2020-01-01 f');
    const [before] = ((await sandbox.outputs()) as { files: { sha256: string }[] }).files;
    await sandbox.bash('cd /mnt/session/outputs && printf bbbb > f && touch -d 2020-01-01 f');
    const [after] = ((await sandbox.outputs()) as { files: { sha256: string }[] }).files;
    expect(after?.sha256).not.toBe(before?.sha256);
  });
});
