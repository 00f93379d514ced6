/** Files, and the files of sessions: through the unmodified SDK, in a real sandbox. */
import { createHash, randomBytes } from 'node:crypto';
import { NotFoundError, toFile } from '@anthropic-ai/sdk';
import { expect } from 'vitest';
import { all, expectRejection } from '../client.ts';
import { follow, openSession, script, send, texts } from '../conversation.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'full' });

const beta = () => stack().client().beta;
const upload = async (bytes: Buffer | string, name: string) =>
  beta().files.upload({ file: await toFile(Buffer.from(bytes), name, { type: 'application/octet-stream' }) });
const bash = (command: string) => ({ blocks: [{ tool: 'bash', input: { command } }] });
const scoped = (session: string) => all(beta().files.list({ scope_id: session }));
const outputs = async (session: string) => (await scoped(session)).filter(({ downloadable }) => downloadable);
async function content(id: string): Promise<Buffer> {
  return Buffer.from(await (await beta().files.download(id)).arrayBuffer());
}

/** Runs commands, one per model answer, and resolves to their outputs when the session is idle. */
async function run(session: string, ...commands: string[]): Promise<string[]> {
  await using told = await follow(stack(), session);
  await send(stack(), session, script([...commands.map(bash), { blocks: [{ text: 'done' }] }]));
  await told.next('session.status_idle');
  return texts(told.events, 'agent.tool_result');
}

verifies(['files.upload', 'files.list', 'files.download', 'files.delete'], async () => {
  const file = await upload('hello', 'dir/a.txt');
  expect(file).toMatchObject({
    ...{ type: 'file', filename: 'a.txt', mime_type: 'text/plain', size_bytes: 5 },
    ...{ downloadable: false, expires_at: null, scope: null },
  });
  expect(await beta().files.retrieveMetadata(file.id)).toEqual(file);
  const other = await upload('', 'b.bin');
  expect((await all(beta().files.list({ limit: 1 }))).map(({ id }) => id).sort()).toEqual([file.id, other.id].sort());
  expect((await beta().files.list({ ids: [other.id, 'file_x', file.id] })).data.map(({ id }) => id)).toEqual([other.id, file.id]);
  await expectRejection(beta().files.download(file.id), { status: 400, code: 'file_not_downloadable' });
  await expectRejection(beta().files.upload({ file: await toFile(Buffer.from('x'), 'x'), expires_in_seconds: 60 }), {
    status: 400,
    says: 'expires_in_seconds',
  });
  const passing = await beta().files.upload({ file: await toFile(Buffer.from('x'), 'x'), expires_in_seconds: 7_776_000 });
  expect(Date.parse(passing.expires_at ?? '')).toBeGreaterThan(Date.now() + 7_000_000_000);
  for (const { id } of [file, other, passing]) {
    expect(await beta().files.delete(id)).toEqual({ id, type: 'file_deleted' });
    await expect(beta().files.retrieveMetadata(id)).rejects.toThrow(NotFoundError);
  }
});

verifies(['files.mounted', 'files.outputs', 'files.resources.create'], async () => {
  const bytes = randomBytes(300_000);
  const [plain, placed] = [await upload(bytes, 'data.bin'), await upload('a,b\n1,2\n', 'table.csv')];
  const session = await openSession(
    stack(),
    { tools: ['bash', 'read'] },
    {
      resources: [
        { type: 'file', file_id: plain.id },
        { type: 'file', file_id: placed.id, mount_path: '/workspace/input/table.csv' },
        { type: 'file', file_id: placed.id, mount_path: 'again.csv' },
      ],
    },
  );
  const { resources } = await beta().sessions.retrieve(session);
  expect(resources).toMatchObject([
    { type: 'file', mount_path: `/mnt/session/uploads/${plain.id}` },
    { type: 'file', mount_path: '/workspace/input/table.csv' },
    { type: 'file', mount_path: '/mnt/session/uploads/again.csv' },
  ]);
  const copy = resources.flatMap((resource) => (resource.type === 'file' ? [resource] : []))[0]!;
  expect(copy.file_id).not.toBe(plain.id);
  expect(await beta().files.retrieveMetadata(copy.file_id)).toMatchObject({ scope: { type: 'session', id: session }, downloadable: false });
  // The copy does not depend on the upload.
  await beta().files.delete(plain.id);

  const [read, refused] = await run(
    session,
    `sha256sum < /mnt/session/uploads/${plain.id}; cat input/table.csv /mnt/session/uploads/again.csv; touch input/own && echo own`,
    'echo x >> /mnt/session/uploads/again.csv; echo x >> input/table.csv; cat input/table.csv',
    `mkdir -p /mnt/session/outputs/sub && cp /mnt/session/uploads/${plain.id} /mnt/session/outputs/sub/result.bin && echo text > /mnt/session/outputs/note.txt && ln -s /etc/passwd /mnt/session/outputs/link && mkfifo /mnt/session/outputs/pipe`,
  );
  expect(read).toContain(createHash('sha256').update(bytes).digest('hex'));
  expect(read).toContain('a,b\n1,2\na,b\n1,2\nown');
  expect(refused).toContain('a,b\n1,2');
  expect(refused).not.toContain('\nx');

  // Idle was told, so they are there (I6).
  const made = await outputs(session);
  expect(made.map(({ filename }) => filename).sort()).toEqual(['note.txt', 'sub/result.bin']);
  const result = made.find(({ filename }) => filename === 'sub/result.bin')!;
  expect(result).toMatchObject({ size_bytes: 300_000, scope: { type: 'session', id: session } });
  expect(await content(result.id)).toEqual(bytes);
});

verifies(['files.outputs.replaced'], async () => {
  const session = await openSession(stack(), { tools: ['bash'] });
  await run(session, 'echo one > /mnt/session/outputs/a; echo same > /mnt/session/outputs/b; echo gone > /mnt/session/outputs/c');
  const before = await outputs(session);
  const idOf = (files: typeof before, name: string) => files.find(({ filename }) => filename === name)?.id ?? '';
  await beta().files.delete(idOf(before, 'c'));
  await run(session, 'echo two > /mnt/session/outputs/a; rm /mnt/session/outputs/b');
  const after = await outputs(session);
  expect(after.map(({ filename }) => filename).sort()).toEqual(['a', 'b']);
  expect(idOf(after, 'a')).not.toBe(idOf(before, 'a'));
  expect(idOf(after, 'b')).toBe(idOf(before, 'b'));
  expect(String(await content(idOf(after, 'a')))).toBe('two\n');
  await expect(beta().files.retrieveMetadata(idOf(before, 'a'))).rejects.toThrow(NotFoundError);
  await beta().sessions.delete(session);
  expect(await scoped(session)).toEqual([]);
  await expect(beta().files.download(idOf(after, 'b'))).rejects.toThrow(NotFoundError);
});

verifies(['files.resources.change', 'files.resources.list', 'files.resources.refusals'], async () => {
  const file = await upload('first', 'a.txt');
  const session = await openSession(stack(), { tools: ['bash'] });
  expect(await run(session, 'ls /mnt/session/uploads')).toEqual([expect.not.stringContaining('file_')]);
  const { resources } = beta().sessions;
  const added = await resources.add(session, { type: 'file', file_id: file.id });
  const second = await resources.add(session, { type: 'file', file_id: file.id, mount_path: '/workspace/b.txt' });
  expect(added).toMatchObject({ type: 'file', mount_path: `/mnt/session/uploads/${file.id}` });
  expect(await resources.retrieve(added.id, { session_id: session })).toEqual(added);
  expect(await all(resources.list(session, { limit: 1 }))).toEqual([added, second]);
  expect(await run(session, `cat /mnt/session/uploads/${file.id} b.txt`)).toEqual([expect.stringContaining('firstfirst')]);
  expect(await resources.delete(added.id, { session_id: session })).toEqual({ id: added.id, type: 'session_resource_deleted' });
  await resources.delete(second.id, { session_id: session });
  expect(await run(session, 'ls /mnt/session/uploads /workspace')).toEqual([expect.not.stringMatching(/file_|b\.txt/)]);
  await expect(beta().files.retrieveMetadata(added.file_id)).rejects.toThrow(NotFoundError);
  expect(await all(resources.list(session))).toEqual([]);

  const add = (mount_path: string, file_id = file.id) => resources.add(session, { type: 'file', file_id, mount_path });
  for (const path of [
    '/etc/passwd',
    '/workspace',
    '/workspace/',
    '/mnt/session/outputs/x',
    '/workspace/../x',
    'a//b',
    '',
    '/tmp/x',
    'a\nb',
  ])
    await expectRejection(add(path), { status: 400, says: 'mount_path' });
  await expectRejection(add('x', 'file_unknown'), { status: 404 });
  await add('x');
  await expectRejection(add('x'), { status: 400, says: '/mnt/session/uploads/x' });
  await expectRejection(add('x/y'), { status: 400, says: '/mnt/session/uploads/x' });
  const [x] = await all(resources.list(session));
  if (x?.type !== 'file') throw new Error('no file');
  await expectRejection(resources.update(x.id, { session_id: session, authorization_token: 't' }), {
    status: 400,
    says: 'github_repository',
  });
  await expectRejection(beta().files.delete(x.file_id), { status: 400, says: 'resource' });
  await expectRejection(resources.delete('sesrsc_x', { session_id: session }), { status: 404 });
});
