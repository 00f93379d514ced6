/** Sockets by policy files, and the process as a whole with a real NATS server. */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer as createTcpServer } from 'node:net';
import path from 'node:path';
import { type AppError, connectMessaging, systemClock } from '@manyhands/base';
import {
  EGRESS_FETCH_SUBJECT,
  EGRESS_SEARCH_SUBJECT,
  type EgressPolicy,
  EgressReply,
  egressSubject,
  FETCH_PART_BYTES,
  FetchPartReply,
  FetchReply,
  type Networking,
  SearchReply,
} from '@manyhands/contract';
import { silentLogger, spawnService, startTestNats, temporaryDirectory, until } from '@manyhands/test-kit';
import { describe, expect, test } from 'vitest';
import { createEgressSockets, createHeldBodies, type EgressSockets } from '../src/index.ts';
import { get, raw, startUpstream, testConnector, testMetrics } from './surroundings.ts';

const MAIN = new URL('../dist/main.js', import.meta.url).pathname;
const UNRESTRICTED: Networking = { type: 'unrestricted' };
const NOTHING: Networking = { type: 'limited', allowed_hosts: [], allow_mcp_servers: false, allow_package_managers: false };

async function addSandbox(
  sandboxesPath: string,
  id: string,
  networking: Networking | null,
  change: Partial<EgressPolicy> = {},
): Promise<string> {
  const directory = path.join(sandboxesPath, id);
  await mkdir(path.join(directory, 'egress'), { recursive: true });
  if (networking) await writePolicy(directory, { sandbox_id: id, session_id: 'sesn_one', networking, ...change });
  return directory;
}
async function writePolicy(directory: string, policy: unknown): Promise<void> {
  await writeFile(path.join(directory, 'policy.new'), typeof policy === 'string' ? policy : JSON.stringify(policy));
  await rename(path.join(directory, 'policy.new'), path.join(directory, 'policy.json'));
}
/** A client cannot name a path of more than 107 bytes, so it goes through a short link, as a mount does. */
async function viaShortPath<T>(directory: string, use: (socket: string) => Promise<T>): Promise<T> {
  await using short = await temporaryDirectory('s');
  const link = path.join(short.path, 'l');
  await symlink(path.join(directory, 'egress'), link);
  return await use(path.join(link, 'egress.sock'));
}
const ask = (directory: string, request: string) => viaShortPath(directory, (socket) => raw(socket, request));

describe('sockets', () => {
  async function withSockets(
    ports: number[],
    work: (sockets: EgressSockets, sandboxesPath: string) => Promise<void>,
    deep = '',
  ): Promise<void> {
    await using data = await temporaryDirectory('egress');
    const sandboxesPath = path.join(data.path, deep, 'sandboxes');
    await mkdir(sandboxesPath, { recursive: true });
    const sockets = createEgressSockets({
      sandboxesPath,
      connector: testConnector(ports),
      log: silentLogger,
      clock: systemClock,
      metrics: testMetrics(),
    });
    try {
      await work(sockets, sandboxesPath);
    } finally {
      await sockets.closeAll();
    }
  }

  test('a sandbox gets its socket by its policy, however long the path is, and anybody inside may connect', async () => {
    await using upstream = await startUpstream((_req, res) => res.end('hello from outside'));
    await withSockets(
      [upstream.port],
      async (sockets, sandboxesPath) => {
        const directory = await addSandbox(sandboxesPath, 'sbx_Long', UNRESTRICTED);
        const socket = path.join(directory, 'egress', 'egress.sock');
        expect(socket.length).toBeGreaterThan(200);
        await sockets.open('sbx_Long');
        await sockets.open('sbx_Long');
        expect((await stat(socket)).mode & 0o777).toBe(0o666);
        expect(await readdir(path.join(directory, 'egress'))).toEqual(['egress.sock']);
        expect(await ask(directory, get(`http://a.test:${upstream.port}/`))).toContain('hello from outside');
        await sockets.close('sbx_Long');
        await sockets.close('sbx_Long');
        expect(await readdir(path.join(directory, 'egress'))).toEqual([]);
      },
      'd'.repeat(200),
    );
  });

  test('each sandbox has its own rules, and a new policy counts for the next request', async () => {
    await using upstream = await startUpstream((_req, res) => res.end('through'));
    await withSockets([upstream.port], async (sockets, sandboxesPath) => {
      const free = await addSandbox(sandboxesPath, 'sbx_free', UNRESTRICTED);
      const shut = await addSandbox(sandboxesPath, 'sbx_shut', NOTHING);
      expect(await sockets.openAll()).toBe(2);
      const request = get(`http://a.test:${upstream.port}/`);
      expect(await ask(free, request)).toContain('through');
      expect(await ask(shut, request)).toMatch(/^HTTP\/1\.1 403/);
      await writePolicy(shut, { sandbox_id: 'sbx_shut', session_id: 'sesn_one', networking: UNRESTRICTED });
      await sockets.open('sbx_shut');
      expect(await ask(shut, request)).toContain('through');
    });
  });

  test('a stale socket is replaced, and one that somebody else put there since is left alone', async () => {
    await withSockets([], async (sockets, sandboxesPath) => {
      const directory = await addSandbox(sandboxesPath, 'sbx_stale', NOTHING);
      const socket = path.join(directory, 'egress', 'egress.sock');
      const stale = createTcpServer();
      await new Promise<void>((resolve) => stale.listen(path.join(directory, 'egress', 'other.sock'), resolve));
      await rename(path.join(directory, 'egress', 'other.sock'), socket);
      await new Promise((resolve) => stale.close(resolve));
      await sockets.open('sbx_stale');
      expect(await ask(directory, get('http://a.test/'))).toMatch(/^HTTP\/1\.1 403/);
      await rm(socket);
      await writeFile(socket, 'a successor');
      await sockets.close('sbx_stale');
      expect((await stat(socket)).isFile()).toBe(true);
    });
  });

  test('the socket goes when its directory goes, and comes again with a new one', async () => {
    await withSockets([], async (sockets, sandboxesPath) => {
      const directory = await addSandbox(sandboxesPath, 'sbx_gone', NOTHING);
      await sockets.open('sbx_gone');
      await rm(directory, { recursive: true });
      await sockets.sweep();
      await expect(sockets.open('sbx_gone')).rejects.toThrow(/no policy/);
      await addSandbox(sandboxesPath, 'sbx_gone', NOTHING);
      await sockets.open('sbx_gone');
      // Also without a sweep between.
      await rm(directory, { recursive: true });
      await addSandbox(sandboxesPath, 'sbx_gone', NOTHING);
      await sockets.open('sbx_gone');
      expect(await ask(directory, get('http://a.test/'))).toMatch(/^HTTP\/1\.1 403/);
      await rm(path.join(directory, 'policy.json'));
      await expect(sockets.open('sbx_gone')).rejects.toThrow(/no policy/);
      expect(await readdir(path.join(directory, 'egress'))).toEqual([]);
    });
  });

  test.each(['../sbx_a', 'sbx_..', 'sbx_a/b', 'sbx_', '', 'sesn_a', 'sbx_a\0b', `sbx_${'a'.repeat(100)}`])(
    '%j is no sandbox id',
    async (id) => {
      await withSockets([], async (sockets) => {
        await expect(sockets.open(id)).rejects.toThrow(/not a sandbox id/);
      });
    },
  );

  test('links, broken policies and missing directories are refused, and do not keep others from opening', async () => {
    await withSockets([], async (sockets, sandboxesPath) => {
      const good = await addSandbox(sandboxesPath, 'sbx_good', NOTHING);
      await symlink(good, path.join(sandboxesPath, 'sbx_link'));
      const linked = await addSandbox(sandboxesPath, 'sbx_policylink', null);
      await symlink(path.join(good, 'policy.json'), path.join(linked, 'policy.json'));
      const dirLink = await addSandbox(sandboxesPath, 'sbx_dirlink', NOTHING);
      await rm(path.join(dirLink, 'egress'), { recursive: true });
      await symlink(path.join(good, 'egress'), path.join(dirLink, 'egress'));
      await writePolicy(await addSandbox(sandboxesPath, 'sbx_broken', null), '{"sandbox_id":');
      await writePolicy(await addSandbox(sandboxesPath, 'sbx_huge', null), `"${'x'.repeat(300_000)}"`);
      await addSandbox(sandboxesPath, 'sbx_swapped', NOTHING, { sandbox_id: 'sbx_good' });
      await rm(path.join(await addSandbox(sandboxesPath, 'sbx_nodir', NOTHING), 'egress'), { recursive: true });
      await addSandbox(sandboxesPath, 'sbx_warm', null);
      await mkdir(path.join(sandboxesPath, 'lost+found'));
      expect(await sockets.openAll()).toBe(1);
      for (const id of [
        'sbx_link',
        'sbx_policylink',
        'sbx_dirlink',
        'sbx_broken',
        'sbx_huge',
        'sbx_swapped',
        'sbx_nodir',
        'sbx_warm',
        'sbx_none',
      ])
        await expect(sockets.open(id)).rejects.toThrow();
      expect(await ask(good, get('http://a.test/'))).toMatch(/^HTTP\/1\.1 403/);
    });
  });

  test('opening and closing at the same time, many times, ends in the last state', async () => {
    await withSockets([], async (sockets, sandboxesPath) => {
      const directory = await addSandbox(sandboxesPath, 'sbx_busy', NOTHING);
      await Promise.all(Array.from({ length: 20 }, (_, n) => (n % 2 ? sockets.close('sbx_busy') : sockets.open('sbx_busy'))));
      await sockets.open('sbx_busy');
      expect(await ask(directory, get('http://a.test/'))).toMatch(/^HTTP\/1\.1 403/);
      expect(await readdir(path.join(directory, 'egress'))).toEqual(['egress.sock']);
    });
  });
});

describe('the process', () => {
  test('opens on request, survives kill -9 by the policy files, closes on request, fetches, and ends on SIGTERM', async () => {
    await using nats = await startTestNats();
    await using data = await temporaryDirectory('egress');
    const sandboxesPath = path.join(data.path, 'sandboxes');
    const env = { NATS_URL: nats.url, MANYHANDS_DATA: data.path, MANYHANDS_HOST_ID: 'host-1' };
    const messaging = await connectMessaging(nats.url, silentLogger, 'test');
    try {
      const directory = await addSandbox(sandboxesPath, 'sbx_one', UNRESTRICTED);
      const tell = (verb: 'open' | 'close', body: unknown) => messaging.request(egressSubject('host-1', verb), body, EgressReply, 5_000);
      {
        await using first = await spawnService({ name: 'egress', entry: MAIN, env });
        expect(first.ready).toMatchObject({ hostId: 'host-1', sandboxes: 1 });
        const second = await addSandbox(sandboxesPath, 'sbx_two', UNRESTRICTED);
        expect(await tell('open', { sandbox_id: 'sbx_two' })).toEqual({ ok: true });
        expect(await ask(second, get('http://127.0.0.1/'))).toMatch(/^HTTP\/1\.1 403/);
        expect(await tell('open', { sandbox_id: 'sbx_three' })).toMatchObject({ ok: false, message: expect.stringContaining('no policy') });
        expect(await tell('open', { sandbox_id: '../../etc' })).toMatchObject({ ok: false });
        expect(await tell('open', { sandbox: 1 })).toMatchObject({ ok: false });
        await first.kill('SIGKILL');
      }
      await using again = await spawnService({ name: 'egress', entry: MAIN, env });
      expect(again.ready).toMatchObject({ sandboxes: 2 });
      expect(await ask(directory, get('http://localhost/'))).toMatch(/^HTTP\/1\.1 (403|502)/);
      expect(await tell('close', { sandbox_id: 'sbx_one' })).toEqual({ ok: true });
      expect(await readdir(path.join(directory, 'egress'))).toEqual([]);
      const fetched = (url: string) =>
        messaging.request(EGRESS_FETCH_SUBJECT, { session_id: 'sesn_one', url, max_bytes: 1000 }, FetchReply, 25_000);
      expect(await fetched('http://127.0.0.1/')).toMatchObject({ ok: false, code: 'url_not_allowed' });
      expect(await fetched(`http://127.0.0.1:${nats.port}/`)).toMatchObject({ ok: false, code: 'url_not_allowed' });
      await rm(path.join(sandboxesPath, 'sbx_two'), { recursive: true });
      await until(() => again.output().includes('egress closed') && /egress.close.*sbx_two/.test(again.output()), {
        what: 'the vanished sandbox was closed',
      });
      expect(await again.kill('SIGTERM')).toEqual({ code: 0, signal: null });
    } finally {
      await messaging.close();
    }
  });

  test('web_search is served where a provider is configured, and nowhere else; its key is in no line of the log', async () => {
    await using nats = await startTestNats();
    await using data = await temporaryDirectory('egress');
    const key = 'key-of-the-operator';
    let seen: unknown = null;
    await using service = await startUpstream((req, res) => {
      seen = req.headers.authorization;
      res.end(JSON.stringify({ results: [{ url: 'https://a.example/', title: 'A', content: 'said' }] }));
    });
    const env = { NATS_URL: nats.url, MANYHANDS_DATA: data.path };
    const messaging = await connectMessaging(nats.url, silentLogger, 'test');
    const search = (body: unknown) => messaging.request(EGRESS_SEARCH_SUBJECT, body, SearchReply, 20_000);
    const request = { session_id: 'sesn_one', query: 'what nobody should read', max_results: 5 };
    try {
      await using without = await spawnService({ name: 'egress', entry: MAIN, env });
      expect(without.ready).toMatchObject({ search: null });
      await expect(search(request)).rejects.toMatchObject({ code: 'unavailable' });
      const keyFile = path.join(data.path, 'search-key');
      await writeFile(keyFile, `${key}\n`);
      const settings = {
        MANYHANDS_SEARCH_PROVIDER: 'tavily',
        MANYHANDS_SEARCH_API_KEY_FILE: keyFile,
        MANYHANDS_SEARCH_BASE_URL: `http://127.0.0.1:${service.port}`,
      };
      await using egress = await spawnService({ name: 'egress', entry: MAIN, env: { ...env, MANYHANDS_HOST_ID: 'other', ...settings } });
      expect(egress.ready).toMatchObject({ search: 'tavily' });
      expect(await search(request)).toEqual({
        ok: true,
        results: [{ url: 'https://a.example/', title: 'A', snippet: 'said', page_age: null }],
      });
      expect(seen).toBe(`Bearer ${key}`);
      for (const wrong of [{}, { ...request, query: '' }, { ...request, query: 'x'.repeat(401) }, { ...request, max_results: 1000 }])
        expect(await search(wrong)).toMatchObject({ ok: false, code: 'invalid_query' });
      await until(() => egress.output().includes('web searched'), { what: 'the line about the search' });
      expect(egress.output()).not.toMatch(/key-of-the-operator|nobody should read/);
    } finally {
      await messaging.close();
    }
  });

  test('a document is read in parts by whoever was told its name, once, and goes by itself when nobody reads it', async () => {
    await using nats = await startTestNats();
    const messaging = await connectMessaging(nats.url, silentLogger, 'test');
    let names = 0;
    const mintName = () => `document-number-${names++}`;
    const part = (subject: string, offset: number) => messaging.request(subject, { offset }, FetchPartReply, 2_000);
    try {
      const bodies = createHeldBodies({ messaging, mintName });
      const bytes = randomBytes(2 * FETCH_PART_BYTES + 5);
      const subject = bodies.hold(bytes)!;
      const parts: Buffer[] = [];
      for (let offset = 0; offset < bytes.length; offset += FETCH_PART_BYTES)
        parts.push(Buffer.from((await part(subject, offset)).data, 'base64'));
      expect(parts.map(({ length }) => length)).toEqual([FETCH_PART_BYTES, FETCH_PART_BYTES, 5]);
      expect(Buffer.concat(parts)).toEqual(bytes);
      await expect(part(subject, 0)).rejects.toMatchObject({ code: 'unavailable' });

      const subjects = Array.from({ length: 17 }, () => bodies.hold(Buffer.from('x')));
      expect(subjects.filter((one) => one !== null)).toHaveLength(16);
      await bodies.close();
      await expect(part(subjects[0]!, 0)).rejects.toMatchObject({ code: 'unavailable' });
      expect(bodies.hold(Buffer.from('x'))).not.toBeNull();
      await bodies.close();

      const brief = createHeldBodies({ messaging, mintName, heldMs: 20 });
      const gone = brief.hold(bytes)!;
      await until(
        () =>
          part(gone, 0).then(
            () => false,
            (error: AppError) => error.code === 'unavailable',
          ),
        { what: 'the document to go' },
      );
    } finally {
      await messaging.close();
    }
  });

  test('an environment that cannot be used ends it at once, naming the variable', async () => {
    await using data = await temporaryDirectory('egress');
    await chmod(data.path, 0o700);
    const env = { MANYHANDS_DATA: data.path, MANYHANDS_EGRESS_EXTRA_DENY: '10.0.0.0' };
    await expect(spawnService({ name: 'egress', entry: MAIN, env })).rejects.toThrow(/MANYHANDS_EGRESS_EXTRA_DENY/);
    await expect(spawnService({ name: 'egress', entry: MAIN, env: { MANYHANDS_HOST_ID: 'a.b' } })).rejects.toThrow(/MANYHANDS_HOST_ID/);
    for (const [variable, value] of [
      ['MANYHANDS_SEARCH_PROVIDER', 'askjeeves'],
      ['MANYHANDS_SEARCH_API_KEY', 'k'],
    ] as const)
      await expect(spawnService({ name: 'egress', entry: MAIN, env: { [variable]: value } })).rejects.toThrow(variable);
  });
});
