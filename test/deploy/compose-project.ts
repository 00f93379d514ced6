/**
 * `docker compose up --wait --scale …` and `down --volumes` over the engine's own interface, for machines without the plugin. It does what Compose
 * does for the keys that compose-file.ts lets pass: builds, networks, volumes, containers in order of what they depend on, health conditions.
 *
 * Where the engine may not set firewall rules its name service does not answer, so each container is also told the addresses of the services
 * that were started before it.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { until } from '@manyhands/test-kit';
import type Docker from 'dockerode';
import { contextTar } from './build-context.ts';
import { type ComposeFile, type ComposeService, isPath } from './compose-file.ts';
import { followBuild } from './images.ts';

const NANOSECONDS_PER_MS = 1_000_000;
const FRAME_HEAD_BYTES = 8;
const HEALTHY_MS = 180_000;
const PROJECT_LABEL = 'com.docker.compose.project';
const SERVICE_LABEL = 'com.docker.compose.service';
/** Taken from the environment by the builder itself, and no part of the image. */
const PROXY_ARGS = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'no_proxy'];

export interface ComposeProject {
  /** Builds what has a build section, as `docker compose build`. */
  build(): Promise<void>;
  up(options: { scale?: Record<string, number>; profiles?: string[] }): Promise<void>;
  /** `docker compose down --volumes`: everything of the project, whoever started it. */
  down(): Promise<void>;
  containers(service: string): Docker.Container[];
  /** The address of a container in one of its networks. */
  address(service: string, network: string): Promise<string>;
  /** The last lines of every container, for a failure. */
  logs(): Promise<string>;
}

export function composeProject(docker: Docker, file: ComposeFile, project: string, say: (line: string) => void): ComposeProject {
  const started = new Map<string, Docker.Container[]>();
  const labels = (more: Record<string, string> = {}) => ({ [PROJECT_LABEL]: project, ...more });
  const filters = { label: [`${PROJECT_LABEL}=${project}`] };
  const full = (name: string) => `${project}_${name}`;

  function volumeOf(source: string): string {
    if (!isPath(source)) return full(source);
    return path.resolve(file.directory, source);
  }

  async function knownHosts(service: ComposeService): Promise<string[]> {
    const hosts: string[] = [];
    for (const [name, [container]] of started) {
      const networks = (await container!.inspect()).NetworkSettings.Networks;
      const shared = service.networks.find((network) => networks[full(network)]?.IPAddress);
      if (shared) hosts.push(`${name}:${networks[full(shared)]!.IPAddress}`);
    }
    return hosts;
  }

  async function startContainer(name: string, service: ComposeService, index: number): Promise<Docker.Container> {
    const [first, ...others] = service.networks;
    const { healthcheck } = service;
    const container = await docker.createContainer({
      name: service.container_name ?? `${project}-${name}-${index}`,
      Image: service.image,
      Labels: labels({ [SERVICE_LABEL]: name }),
      Env: Object.entries(service.environment).map(([key, value]) => `${key}=${value}`),
      ...(service.user === undefined ? {} : { User: service.user }),
      ...(service.entrypoint === undefined ? {} : { Entrypoint: service.entrypoint }),
      ...(service.command === undefined ? {} : { Cmd: service.command }),
      ...(healthcheck === undefined ? {} : { Healthcheck: healthcheckOf(healthcheck) }),
      ExposedPorts: Object.fromEntries(service.ports.map(({ target }) => [`${target}/tcp`, {}])),
      HostConfig: {
        NetworkMode: first === undefined ? 'none' : full(first),
        RestartPolicy: { Name: service.restart },
        ReadonlyRootfs: service.read_only,
        Tmpfs: Object.fromEntries(service.tmpfs.map((target) => [target, ''])),
        CapDrop: service.cap_drop,
        CapAdd: service.cap_add,
        SecurityOpt: service.security_opt,
        GroupAdd: service.group_add,
        LogConfig: { Type: service.logging.driver, Config: service.logging.options },
        Binds: service.volumes.map(({ source, target, mode }) => `${volumeOf(source)}:${target}:${mode}`),
        PortBindings: Object.fromEntries(
          service.ports.map(({ address, published, target }) => [`${target}/tcp`, [{ HostIp: address, HostPort: published }]]),
        ),
        ExtraHosts: await knownHosts(service),
      },
      ...(first === undefined ? {} : { NetworkingConfig: { EndpointsConfig: { [full(first)]: { Aliases: [name] } } } }),
    });
    for (const network of others)
      await docker.getNetwork(full(network)).connect({ Container: container.id, EndpointConfig: { Aliases: [name] } });
    await container.start();
    return container;
  }

  async function startService(name: string, service: ComposeService, count: number): Promise<void> {
    for (const [other, { condition }] of Object.entries(service.depends_on)) await holds(other, condition);
    const startedMs = performance.now();
    const indexes = Array.from({ length: count }, (_, i) => i + 1);
    started.set(name, await Promise.all(indexes.map((index) => startContainer(name, service, index))));
    say(`started ${name} ×${count} in ${Math.round(performance.now() - startedMs)} ms`);
  }

  async function holds(name: string, condition: keyof typeof CONDITIONS): Promise<void> {
    for (const container of started.get(name) ?? []) {
      const { what, ask } = CONDITIONS[condition];
      await until(
        async () => {
          const { State } = await container.inspect();
          return ask(State);
        },
        { what: `${name} to be ${what}`, timeoutMs: HEALTHY_MS, intervalMs: 100 },
      );
    }
  }

  function enabled(profiles: string[]): [string, ComposeService][] {
    return Object.entries(file.services).filter(
      ([, service]) => service.profiles.length === 0 || service.profiles.some((profile) => profiles.includes(profile)),
    );
  }

  return {
    async build() {
      for (const { build, image } of Object.values(file.services)) {
        if (!build) continue;
        const root = path.resolve(file.directory, build.context);
        const startedMs = performance.now();
        const buildargs = Object.fromEntries(PROXY_ARGS.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
        await followBuild(
          docker,
          await docker.buildImage(contextTar(root, build.dockerfile), {
            t: image,
            dockerfile: build.dockerfile,
            networkmode: 'host',
            forcerm: true,
            buildargs,
          }),
        );
        say(`built ${image} in ${Math.round(performance.now() - startedMs)} ms`);
      }
    },
    async up({ scale = {}, profiles = [] }) {
      const services = enabled(profiles);
      for (const [name, count] of Object.entries(scale)) {
        const service = services.find(([other]) => other === name)?.[1];
        if (!service) throw new Error(`--scale ${name}=${count}: there is no such service`);
        if (count > 1 && service.container_name !== undefined) throw new Error(`--scale ${name}=${count}: it has a fixed container name`);
      }
      for (const [name, { internal }] of Object.entries(file.networks))
        await docker.createNetwork({ Name: full(name), Internal: internal, Labels: labels(), CheckDuplicate: true });
      for (const name of Object.keys(file.volumes)) await docker.createVolume({ Name: full(name), Labels: labels() });
      for (const { source } of services.flatMap(([, { volumes }]) => volumes))
        if (isPath(source) && source !== '/var/run/docker.sock') await mkdir(volumeOf(source), { recursive: true }).catch(ignoreExisting);
      const waiting = new Map(services);
      while (waiting.size > 0) {
        const next = [...waiting].filter(([, { depends_on }]) => Object.keys(depends_on).every((other) => !waiting.has(other)));
        if (next.length === 0) throw new Error(`these depend on each other: ${[...waiting.keys()].join(', ')}`);
        await Promise.all(next.map(([name, service]) => startService(name, service, scale[name] ?? 1)));
        for (const [name] of next) waiting.delete(name);
      }
      for (const [name] of services) await holds(name, 'healthy_or_done');
    },
    async down() {
      const order = [...started.keys()].reverse();
      for (const name of order) {
        const seconds = Math.ceil(file.services[name]!.stop_grace_period / 1_000);
        const startedMs = performance.now();
        await Promise.all((started.get(name) ?? []).map((container) => container.stop({ t: seconds }).catch(ignoreGone)));
        say(`stopped ${name} in ${Math.round(performance.now() - startedMs)} ms`);
      }
      const containers = await docker.listContainers({ all: true, filters });
      await Promise.all(containers.map(({ Id }) => docker.getContainer(Id).remove({ force: true, v: true }).catch(ignoreGone)));
      for (const { Id } of await docker.listNetworks({ filters })) await docker.getNetwork(Id).remove().catch(ignoreGone);
      const { Volumes } = await docker.listVolumes({ filters });
      for (const { Name } of Volumes ?? []) await docker.getVolume(Name).remove().catch(ignoreGone);
      started.clear();
    },
    containers: (service) => started.get(service) ?? [],
    async address(service, network) {
      const [container] = started.get(service) ?? [];
      const address = (await container?.inspect())?.NetworkSettings.Networks[full(network)]?.IPAddress;
      if (!address) throw new Error(`${service} has no address in ${network}`);
      return address;
    },
    async logs() {
      const texts = [...started].flatMap(([name, containers]) =>
        containers.map(async (container, i) => {
          const output = await container.logs({ stdout: true, stderr: true, tail: 30 });
          return `--- ${name} ${i + 1}\n${withoutFrames(output)}`;
        }),
      );
      return (await Promise.all(texts)).join('\n');
    },
  };
}

/** What is not given here is the image's. */
function healthcheckOf({ disable, test, retries, ...times }: NonNullable<ComposeService['healthcheck']>): Docker.HealthConfig {
  if (disable) return { Test: ['NONE'] };
  const nanoseconds = (ms: number | undefined) => (ms ?? 0) * NANOSECONDS_PER_MS;
  return {
    ...(test === undefined ? {} : { Test: test }),
    Interval: nanoseconds(times.interval),
    Timeout: nanoseconds(times.timeout),
    StartPeriod: nanoseconds(times.start_period),
    Retries: retries ?? 0,
  };
}

/** The text of a log, in which each piece has eight bytes that tell its stream and its length. */
function withoutFrames(log: Buffer): string {
  let text = '';
  for (let at = 0; at + FRAME_HEAD_BYTES <= log.length; ) {
    const end = at + FRAME_HEAD_BYTES + log.readUInt32BE(at + 4);
    text += log.toString('utf8', at + FRAME_HEAD_BYTES, end);
    at = end;
  }
  return text;
}

interface State {
  Running: boolean;
  ExitCode: number;
  Health?: { Status: string } | undefined;
}
const CONDITIONS = {
  service_started: { what: 'started', ask: ({ Running }: State) => Running },
  service_healthy: { what: 'healthy', ask: ({ Health }: State) => Health?.Status === 'healthy' },
  /** What `--wait` waits for. */
  healthy_or_done: {
    what: 'healthy, or done',
    ask: ({ Running, ExitCode, Health }: State) => (Running ? (Health?.Status ?? 'healthy') === 'healthy' : ExitCode === 0),
  },
  service_completed_successfully: { what: 'done', ask: ({ Running, ExitCode }: State) => !Running && ExitCode === 0 },
};

function ignoreGone(error: { statusCode?: number }): void {
  // Stopped already, or gone.
  if (error.statusCode !== 304 && error.statusCode !== 404) throw error;
}
function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error;
}
