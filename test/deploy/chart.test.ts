/** The Helm chart: what it makes of its values, checked against what the processes read and against itself. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { shutdownDeadlineMs } from '@manyhands/base';
import { temporaryDirectory } from '@manyhands/test-kit';
import { QUEUE_PREFIX, TURN_QUEUE } from '@manyhands/turn-queue';
import { expect, test } from 'vitest';
import { type Manifest, renderChart, type Values } from './chart.ts';
import { readVariables } from './read-variables.ts';

const ROOT = path.resolve(import.meta.dirname, '..', '..');
const CHART = path.join(ROOT, 'deploy/helm/manyhands');
const LEAST: Values = { existingSecret: 'manyhands' };

const render = (values: Values = {}) => renderChart(CHART, { ...LEAST, ...values });
const ofKind = (manifests: Manifest[], kind: string) => manifests.filter((manifest) => manifest.kind === kind);
const named = (manifests: Manifest[], kind: string, name: string): Manifest => {
  const found = ofKind(manifests, kind).find((manifest) => manifest.metadata.name === `test-${name}`);
  if (!found) throw new Error(`there is no ${kind} test-${name}`);
  return found;
};

interface Container {
  name: string;
  args?: string[];
  env?: { name: string; value?: string; valueFrom?: unknown }[];
  ports?: { name: string; containerPort: number }[];
  volumeMounts: { name: string; mountPath: string }[];
  securityContext: Values;
  [probe: string]: unknown;
}
interface Pod {
  name: string;
  labels: Record<string, string>;
  spec: Values & { containers: Container[]; initContainers?: Container[]; volumes: { name: string }[] };
}
function pods(manifests: Manifest[]): Pod[] {
  return manifests
    .filter(({ kind }) => kind === 'Deployment' || kind === 'DaemonSet')
    .map(({ metadata, spec }) => ({ name: metadata.name, labels: spec.template.metadata.labels, spec: spec.template.spec }));
}
function selects(selector: { matchLabels: Record<string, string> }, labels: Record<string, string>): boolean {
  return Object.entries(selector.matchLabels).every(([key, value]) => labels[key] === value);
}
const setting = (container: Container, variable: string) => container.env?.find(({ name }) => name === variable)?.value;

test('the least values give a gateway, workers, and a pool with its egress on every sandbox node', () => {
  const { manifests, notes } = render();
  expect(pods(manifests).map(({ name, spec }) => [name, ...spec.containers.map((container) => container.name)])).toEqual([
    ['test-gateway', 'gateway'],
    ['test-harness', 'harness'],
    ['test-sandboxes', 'sandbox-pool', 'egress'],
  ]);
  expect(notes).toContain('port-forward service/test-gateway 8400:8400');
});

test('an install without a secret is refused with the keys that it must have', () => {
  expect(() => renderChart(CHART, {})).toThrow(/existingSecret is needed.*redis-url, nats-url, api-key and model-api-key/);
});

test('values that do not exist, or are of the wrong kind, are refused by their path', () => {
  expect(() => render({ harnes: { replicas: 3 } })).toThrow(/harnes/);
  expect(() => render({ harness: { replicas: 0 } })).toThrow(/harness[\s\S]*replicas|replicas[\s\S]*harness/);
  expect(() => render({ sandboxes: { nodeSelector: 'gpu' } })).toThrow(/nodeSelector/);
  expect(() => render({ networkPolicy: { modelPorts: [70_000] } })).toThrow(/modelPorts/);
  expect(() => render({ search: { provider: 'askjeeves' } })).toThrow(/provider/);
});

test('replicas, resources and limits are those of the values', () => {
  const { manifests } = render({
    gateway: { replicas: 3 },
    harness: { replicas: 7, concurrency: 9, resources: { limits: { memory: '3Gi' } } },
    sandboxes: { max: 11, memoryMb: 1024 },
  });
  expect(named(manifests, 'Deployment', 'gateway').spec.replicas).toBe(3);
  const harness = named(manifests, 'Deployment', 'harness').spec;
  expect(harness.replicas).toBe(7);
  expect(harness.template.spec.containers[0].resources.limits).toEqual({ memory: '3Gi' });
  expect(setting(harness.template.spec.containers[0], 'MANYHANDS_WORKER_CONCURRENCY')).toBe('9');
  const pool = named(manifests, 'DaemonSet', 'sandboxes').spec.template.spec.containers[0];
  expect([setting(pool, 'MANYHANDS_POOL_MAX'), setting(pool, 'MANYHANDS_SANDBOX_MEMORY_MB')]).toEqual(['11', '1024']);
});

test('with autoscaling, workers follow the depth of the queue that the gateways tell', () => {
  const autoscaling = { enabled: true, maxReplicas: 9, turnsPerWorker: 20, prometheus: { serverAddress: 'http://prometheus:9090' } };
  const { manifests } = render({ harness: { autoscaling } });
  expect(named(manifests, 'Deployment', 'harness').spec).not.toHaveProperty('replicas');
  const { spec } = named(manifests, 'ScaledObject', 'harness');
  expect(spec).toMatchObject({ scaleTargetRef: { name: 'test-harness' }, minReplicaCount: 2, maxReplicaCount: 9 });
  const [{ metadata }] = spec.triggers;
  expect(metadata).toMatchObject({ serverAddress: 'http://prometheus:9090', threshold: '20' });
  const source = readFileSync(path.join(ROOT, 'packages/turn-queue/src/queue-metrics.ts'), 'utf8');
  const [, metric, queue, states] = /(manyhands_\w+)\{queue="(\w+)",state=~"([\w|]+)"\}/.exec(metadata.query) ?? [];
  expect(source).toContain(`'${metric}'`);
  expect(queue).toBe(TURN_QUEUE);
  for (const state of states!.split('|')) expect(source).toContain(`'${state}'`);
});

test('with the redis trigger, workers follow the list of the queue itself', () => {
  const { manifests } = render({ harness: { autoscaling: { enabled: true, trigger: 'redis', redis: { address: 'redis:6379' } } } });
  const { spec } = named(manifests, 'ScaledObject', 'harness');
  expect(spec.triggers[0].metadata.listName).toBe(`${QUEUE_PREFIX}:${TURN_QUEUE}:wait`);
  expect(named(manifests, 'TriggerAuthentication', 'redis').spec.secretTargetRef[0]).toMatchObject({
    name: 'manyhands',
    parameter: 'password',
  });
});

test('autoscaling without the address that its trigger asks is refused', () => {
  expect(() => render({ harness: { autoscaling: { enabled: true } } })).toThrow(/prometheus.serverAddress is needed/);
  expect(() => render({ harness: { autoscaling: { enabled: true, trigger: 'redis' } } })).toThrow(/redis.address is needed/);
});

test('every variable that the chart sets is one that the process reads', () => {
  const unknown = pods(render({ sandboxes: { max: 3 }, search: { provider: 'brave' } }).manifests).flatMap(({ spec }) =>
    spec.containers.flatMap(({ name, env = [] }) => {
      const known = readVariables(name);
      return env.filter((variable) => !known.has(variable.name)).map((variable) => `${name}: ${variable.name}`);
    }),
  );
  expect(unknown).toEqual([]);
});

test('what is said of the search provider reaches egress alone, its key from the secret', () => {
  const holders = (values: Values) =>
    pods(render(values).manifests).flatMap(({ spec }) =>
      spec.containers.filter((container) => JSON.stringify(container.env).includes('SEARCH')),
    );
  expect(holders({})).toEqual([]);
  const [egress, ...others] = holders({ search: { provider: 'searxng', baseUrl: 'http://searxng.search:8080' } });
  expect([egress!.name, others]).toEqual(['egress', []]);
  expect(setting(egress!, 'MANYHANDS_SEARCH_PROVIDER')).toBe('searxng');
  expect(setting(egress!, 'MANYHANDS_SEARCH_BASE_URL')).toBe('http://searxng.search:8080');
  expect(egress!.env).toContainEqual({
    name: 'MANYHANDS_SEARCH_API_KEY',
    valueFrom: { secretKeyRef: { name: 'manyhands', key: 'search-api-key', optional: true } },
  });
});

test('every probe and service asks a port that the container has, where the process listens', () => {
  const { manifests } = render();
  for (const { spec } of pods(manifests)) {
    for (const container of spec.containers) {
      const ports = new Map(container.ports!.map(({ name, containerPort }) => [name, containerPort]));
      for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe']) {
        const { httpGet } = container[probe] as { httpGet: { path: string; port: string } };
        expect(httpGet.path).toBe(probe === 'livenessProbe' ? '/healthz' : '/readyz');
        expect(`0.0.0.0:${ports.get(httpGet.port)}`, `${container.name} ${probe}`).toBe(setting(container, 'MANYHANDS_OPS_LISTEN'));
      }
    }
    const all = spec.containers.flatMap(({ ports }) => ports!.map(({ containerPort }) => containerPort));
    expect(new Set(all).size).toBe(all.length);
  }
  const service = named(manifests, 'Service', 'gateway').spec;
  const gateway = pods(manifests)[0]!;
  expect(selects({ matchLabels: service.selector }, gateway.labels)).toBe(true);
  expect(gateway.spec.containers[0]!.ports!.find(({ name }) => name === service.ports[0].targetPort)?.containerPort).toBe(
    Number(setting(gateway.spec.containers[0]!, 'MANYHANDS_PORT')),
  );
});

test('every selector finds the pods it is for, and no others', () => {
  const { manifests } = render({ networkPolicy: { metricsFrom: [{ namespaceSelector: {} }] } });
  const all = pods(manifests);
  const found = (selector: { matchLabels: Record<string, string> }) =>
    all.filter(({ labels }) => selects(selector, labels)).map(({ name }) => name);
  for (const workload of manifests.filter(({ kind }) => kind === 'Deployment' || kind === 'DaemonSet')) {
    expect(found(workload.spec.selector)).toEqual([workload.metadata.name]);
    for (const { labelSelector } of workload.spec.template.spec.topologySpreadConstraints ?? [])
      expect(found(labelSelector)).toEqual([workload.metadata.name]);
  }
  for (const budget of ofKind(manifests, 'PodDisruptionBudget')) expect(found(budget.spec.selector)).toEqual([budget.metadata.name]);
  expect(ofKind(manifests, 'PodDisruptionBudget')).toHaveLength(2);
  for (const policy of ofKind(manifests, 'NetworkPolicy')) {
    const forAll = ['test-closed', 'test-metrics'].includes(policy.metadata.name);
    expect(found(policy.spec.podSelector)).toEqual(forAll ? all.map(({ name }) => name) : [policy.metadata.name]);
  }
});

test('no process has root, a capability, a system that it can write or a token; what prepares the node may only give a directory away', () => {
  for (const { spec } of pods(render().manifests)) {
    expect(spec).toMatchObject({ automountServiceAccountToken: false, securityContext: { runAsNonRoot: true, runAsUser: 10001 } });
    for (const { securityContext } of spec.containers)
      expect(securityContext).toEqual({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } });
    for (const { securityContext } of spec.initContainers ?? [])
      expect(securityContext).toMatchObject({ runAsUser: 0, capabilities: { drop: ['ALL'], add: ['CHOWN', 'FOWNER'] } });
  }
});

test('pool and egress share a directory that has the same path on the node, and one name', () => {
  const { spec } = pods(render({ sandboxes: { hostDirectory: '/srv/agents' } }).manifests)[2]!;
  const volumes = new Map(spec.volumes.map((volume) => [volume.name, volume as Values]));
  expect(volumes.get('sandboxes')).toMatchObject({ hostPath: { path: '/srv/agents/sandboxes' } });
  for (const container of [...spec.initContainers!, ...spec.containers])
    expect(container.volumeMounts).toContainEqual({ name: 'sandboxes', mountPath: '/srv/agents/sandboxes' });
  const [pool, egress] = spec.containers as [Container, Container];
  expect([setting(pool, 'MANYHANDS_DATA'), setting(egress, 'MANYHANDS_DATA')]).toEqual(['/srv/agents', '/srv/agents']);
  const hostId = (container: Container) => container.env!.find(({ name }) => name === 'MANYHANDS_HOST_ID')?.valueFrom;
  expect(hostId(pool)).toEqual({ fieldRef: { fieldPath: 'metadata.uid' } });
  expect(hostId(egress)).toEqual(hostId(pool));
});

test('every mount names a volume of its pod, and the blobs are the claim that was given', () => {
  const { manifests } = render({ blobs: { existingClaim: 'shared' } });
  expect(ofKind(manifests, 'PersistentVolumeClaim')).toEqual([]);
  for (const { spec } of pods(manifests)) {
    const volumes = spec.volumes.map(({ name }) => name);
    for (const { volumeMounts } of spec.containers) for (const { name } of volumeMounts) expect(volumes).toContain(name);
    expect(spec.volumes).toContainEqual({ name: 'blobs', persistentVolumeClaim: { claimName: 'shared' } });
  }
  expect(named(render().manifests, 'PersistentVolumeClaim', 'blobs').spec.accessModes).toEqual(['ReadWriteMany']);
});

test('a pod gets longer to end than its processes take', () => {
  for (const { spec } of pods(render().manifests)) {
    for (const container of spec.containers) {
      const drainMs = Number(setting(container, 'MANYHANDS_DRAIN_MS') ?? '10000');
      expect((spec['terminationGracePeriodSeconds'] as number) * 1_000, container.name).toBeGreaterThan(shutdownDeadlineMs(drainMs));
    }
  }
});

test.each([
  ['{{ .Values.modle.baseUrl }}', /there is no modle/],
  ['{{ with .Values.model }}{{ end }}', /end without a beginning/],
  ['{{ .Values.logLevel | upper }}', /upper is not known/],
  ['{{ include "manyhands.nothing" . }}', /not a template of this chart/],
  ['{{ if .Values.logLevel }}', /has no end/],
  ['a: {{ .Values.logLevel }}: b', /test.yaml/],
])('the renderer of these tests refuses %s', async (template, message) => {
  await using directory = await temporaryDirectory('chart');
  cpSync(CHART, directory.path, { recursive: true });
  writeFileSync(path.join(directory.path, 'templates/test.yaml'), template);
  expect(() => renderChart(directory.path, LEAST)).toThrow(message);
});
