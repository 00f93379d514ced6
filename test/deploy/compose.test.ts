/**
 * deploy/ as a user runs it: the image built from deploy/Dockerfile, deploy/new-env.sh, and deploy/compose.yaml with --scale harness=4. Where no
 * registry answers, the public images that these build on are made here under the same names (local-bases.ts); where there is no Compose,
 * compose-project.ts does what it does.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import Anthropic from '@anthropic-ai/sdk';
import { fakeScript } from '@manyhands/model/testing';
import { engineUnavailable, type TemporaryDirectory, type TestEngine, temporaryDirectory, testEngine, until } from '@manyhands/test-kit';
import Docker from 'dockerode';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Event, history, problems, say, texts, untilIdle } from '../e2e/conversation.ts';
import { readComposeFile, readEnvFile } from './compose-file.ts';
import { type ComposeProject, composeProject } from './compose-project.ts';
import { provideBases } from './local-bases.ts';

const ROOT = path.resolve(import.meta.dirname, '..', '..');
const COMPOSE_FILE = path.join(ROOT, 'deploy/compose.yaml');
const SESSIONS = 100;
const HARNESSES = 4;
const BASES = ['node:20-bookworm-slim', 'redis:7.2-bookworm', 'nats:2.10-alpine'];
/** Every sandbox carries the id of its pool. */
const POOL_LABEL = 'dev.manyhands.pool';
const READY_MS = 420_000;
const SERVED_MS = 300_000;
const ENDED_MS = 120_000;

const reason = engineUnavailable();

describe.skipIf(reason !== null)(`the compose file${reason === null ? '' : ` (skipped: ${reason})`}`, () => {
  const name = `manyhands-test-${process.pid}`;
  const image = `${name}:latest`;
  let engine: TestEngine;
  let docker: Docker;
  let directory: TemporaryDirectory;
  let env: Record<string, string>;
  let project: ComposeProject;
  let client: Anthropic;
  let made: string[] = [];
  let histories: Event[][] = [];

  beforeAll(async () => {
    engine = await testEngine();
    const socket = /^unix:\/\/(.*)$/.exec(engine.host)?.[1];
    if (socket === undefined) throw new Error(`${engine.host}: the pool in its container needs the socket of an engine on this machine`);
    docker = new Docker({ socketPath: socket });
    directory = await temporaryDirectory('deploy');
    const printed = execFileSync('sh', [path.join(ROOT, 'deploy/new-env.sh')], {
      encoding: 'utf8',
      env: {
        PATH: process.env['PATH'],
        DOCKER_SOCKET: socket,
        MANYHANDS_MODEL_BASE_URL: 'http://fake-model:8500',
        MANYHANDS_MODEL_API_KEY: 'none',
      },
    });
    env = {
      ...readEnvFile(printed),
      COMPOSE_PROJECT_NAME: name,
      MANYHANDS_IMAGE: image,
      MANYHANDS_DIR: path.join(directory.path, 'data'),
      MANYHANDS_PUBLISH: '127.0.0.1:0',
      MANYHANDS_SANDBOX_IMAGE: engine.image,
      MANYHANDS_SANDBOX_GRACE_MS: '0',
      MANYHANDS_POOL_WARM: '4',
      MANYHANDS_POOL_MAX: '16',
    };
    const file = readComposeFile(COMPOSE_FILE, env);
    made = await provideBases(docker, engine.image, BASES);
    project = composeProject(docker, file, name, note);
    await project.build();
    await project.up({ scale: { harness: HARNESSES }, profiles: ['fake'] }).catch(tellLogs);
    const url = `http://${await project.address('gateway', 'outside')}:8400`;
    client = new Anthropic({ baseURL: url, apiKey: env['MANYHANDS_API_KEY']!, maxRetries: 5 });
  }, READY_MS);

  afterAll(async () => {
    await project?.down();
    await removeAsRoot(docker, image, directory.path).catch(() => {});
    for (const one of [image, ...made])
      await docker
        .getImage(one)
        .remove({ noprune: true, force: true })
        .catch(() => {});
    await directory?.remove();
    await engine?.[Symbol.asyncDispose]();
  }, ENDED_MS);

  async function tellLogs(error: unknown): Promise<never> {
    throw new Error(`${error instanceof Error ? error.message : error}\n${await project.logs()}`);
  }

  test('up --scale harness=4 starts every service, and every health check passes', async () => {
    expect(project.containers('harness')).toHaveLength(HARNESSES);
    for (const service of ['redis', 'nats', 'gateway', 'harness', 'egress', 'sandbox-pool'])
      for (const container of project.containers(service))
        expect((await container.inspect()).State.Health?.Status, service).toBe('healthy');
  });

  test('every service runs as an ordinary user without capabilities, on a system that it cannot write', async () => {
    for (const service of ['redis', 'nats', 'gateway', 'harness', 'egress', 'sandbox-pool']) {
      const status = await output(project.containers(service)[0]!, ['cat', '/proc/1/status']);
      expect(/^Uid:\t(\d+)/m.exec(status)?.[1], service).not.toBe('0');
      expect(status, service).toMatch(/^CapEff:\t0+$/m);
      expect(status, service).toMatch(/^NoNewPrivs:\t1$/m);
      expect(await output(project.containers(service)[0]!, ['sh', '-c', 'touch /usr/here 2>&1 || true']), service).toMatch(/read-only/i);
    }
  });

  test('the data directories are given to the services at their default places too, whoever made them', async () => {
    const { entrypoint, command } = readComposeFile(COMPOSE_FILE, { ...env, MANYHANDS_DIR: '' }).services['prepare']!;
    const places = ['/var/lib/manyhands/blobs', '/var/lib/manyhands/sandboxes'];
    // The engine makes what is missing, and as root.
    const binds = places.map((place) => `${directory.path}/data/default/${path.basename(place)}:${place}`);
    const prepare = {
      ...{ Image: image, User: '0:0', Entrypoint: entrypoint!, Cmd: command! },
      HostConfig: { Binds: binds, CapDrop: ['ALL'], CapAdd: ['CHOWN', 'FOWNER'], ReadonlyRootfs: true },
    };
    const write = { Image: image, Entrypoint: ['touch', ...places.map((place) => `${place}/file`)], HostConfig: { Binds: binds } };
    expect(await runToEnd(docker, write)).not.toBe(0);
    expect(await runToEnd(docker, prepare)).toBe(0);
    expect(await runToEnd(docker, write)).toBe(0);
    expect(await runToEnd(docker, prepare)).toBe(0);
  });

  test(
    '100 sessions, each with a command in a container of its own, and a worker killed meanwhile: none is lost',
    async () => {
      const agent = await client.beta.agents.create({ name: 'tester', model: 'fake', tools: [{ type: 'agent_toolset_20260401' }] });
      const environment = await client.beta.environments.create({ name: 'test', config: { type: 'cloud' } });
      const sessions = await Promise.all(
        Array.from({ length: SESSIONS }, async () => {
          const { id } = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
          await say(client, id, COUNTING);
          return id;
        }),
      );
      const victim = await until(() => busiest(project.containers('harness')), { what: 'a worker to run turns', intervalMs: 100 });
      await victim.kill({ signal: 'SIGKILL' });
      await until(() => allIdle(client, SESSIONS), { what: 'all sessions to be idle', timeoutMs: SERVED_MS, intervalMs: 1_000 }).catch(
        tellLogs,
      );
      histories = await Promise.all(sessions.map((id) => history(client, id)));
      expect((await victim.inspect()).State.Running).toBe(false);
      expect(histories.flatMap(problems)).toEqual([]);
      expect(histories.map((events) => events.at(-1))).toEqual(
        Array.from({ length: SESSIONS }, () => expect.objectContaining({ type: 'session.status_idle', stop_reason: { type: 'end_turn' } })),
      );
    },
    SERVED_MS,
  );

  test('each of the 100 commands ran once, in a sandbox that no other session had', () => {
    const answers = histories.map((events) => texts(events, 'agent.message').at(-1)?.trim());
    expect(answers).toEqual(Array.from({ length: SESSIONS }, () => 'ran 1'));
  });

  test('a sandbox reaches no server of the deployment, neither by itself nor through its proxy', async () => {
    const agent = await client.beta.agents.create({ name: 'tester', model: 'fake', tools: [{ type: 'agent_toolset_20260401' }] });
    const environment = await client.beta.environments.create({ name: 'test', config: { type: 'cloud' } });
    const { id } = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
    const servers = [
      `${await project.address('redis', 'backend')}:6379`,
      `${await project.address('nats', 'backend')}:4222`,
      `${await project.address('gateway', 'backend')}:8400`,
    ];
    // 7: curl could not connect. 403: the proxy's answer.
    const tries = servers.map(
      (server) =>
        `curl -s -o /dev/null -m 5 --noproxy '*' http://${server}/; echo $? $(curl -s -o /dev/null -m 5 -w '%{http_code}' http://${server}/)`,
    );
    const command = tries.join('\n');
    await say(client, id, fakeScript([{ blocks: [{ tool: 'bash', input: { command } }] }, { blocks: [{ text: '{{last_tool_result}}' }] }]));
    const events = await untilIdle(client, id, 60_000);
    expect(texts(events, 'agent.message').at(-1)?.trim().split('\n')).toEqual(servers.map(() => '7 403'));
  }, 90_000);

  test(
    'down leaves no container, network, volume or sandbox',
    async () => {
      const sandboxes = path.join(directory.path, 'data/sandboxes');
      const { pool_id: poolId } = JSON.parse(readFileSync(path.join(sandboxes, 'pool.json'), 'utf8')) as { pool_id: string };
      const ofPool = () => docker.listContainers({ all: true, filters: { label: [`${POOL_LABEL}=${poolId}`] } });
      expect((await ofPool()).length).toBeGreaterThan(0);
      await project.down();
      const filters = { label: [`com.docker.compose.project=${name}`] };
      expect(await docker.listContainers({ all: true, filters })).toEqual([]);
      expect(await docker.listNetworks({ filters })).toEqual([]);
      expect((await docker.listVolumes({ filters })).Volumes ?? []).toEqual([]);
      expect(await ofPool()).toEqual([]);
      expect(readdirSync(sandboxes).filter((entry) => entry.includes('sbx_'))).toEqual([]);
    },
    ENDED_MS,
  );
});

/** Counts its runs in a file of the workspace, takes a moment, and reports the count. */
const COUNTING = fakeScript([
  { blocks: [{ tool: 'bash', input: { command: 'echo run >> count; sleep 1; wc -l < count' } }] },
  { blocks: [{ text: 'ran {{last_tool_result}}' }] },
]);

function note(line: string): void {
  if (process.env['MANYHANDS_TEST_VERBOSE']) console.log(line);
}

/** The first worker that runs turns now, as it tells Prometheus. */
async function busiest(workers: Docker.Container[]): Promise<Docker.Container | null> {
  for (const worker of workers) {
    const metrics = await output(worker, ['node', '-e', 'fetch("http://127.0.0.1:9464/metrics").then((r) => r.text()).then(console.log)']);
    if (Number(/^manyhands_turns_running(?:\{[^}]*\})? (\d+)/m.exec(metrics)?.[1]) > 0) return worker;
  }
  return null;
}

async function allIdle(client: Anthropic, count: number): Promise<boolean> {
  const idle: string[] = [];
  for await (const session of client.beta.sessions.list({ limit: 100 })) if (session.status === 'idle') idle.push(session.id);
  return idle.length === count;
}

/** What a command in a running container says. */
async function output(container: Docker.Container, command: string[]): Promise<string> {
  const exec = await container.exec({ Cmd: command, AttachStdout: true, AttachStderr: true, Tty: true });
  const stream = await exec.start({ Tty: true });
  let text = '';
  stream.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  await new Promise((resolve) => stream.on('end', resolve));
  return text.replaceAll('\r\n', '\n');
}

/** Runs a container of one line to its end, without a network; returns its exit code. */
async function runToEnd(docker: Docker, options: Docker.ContainerCreateOptions): Promise<number> {
  const container = await docker.createContainer({
    ...options,
    Healthcheck: { Test: ['NONE'] },
    HostConfig: { ...options.HostConfig, NetworkMode: 'none' },
  });
  try {
    await container.start();
    return ((await container.wait()) as { StatusCode: number }).StatusCode;
  } finally {
    await container.remove({ force: true, v: true });
  }
}

/** The data directory belongs to the user of the services. */
async function removeAsRoot(docker: Docker, image: string, directory: string): Promise<void> {
  const HostConfig = { Binds: [`${directory}:${directory}`] };
  await runToEnd(docker, { Image: image, User: '0:0', Entrypoint: ['rm', '-rf', `${directory}/data`], HostConfig });
}
