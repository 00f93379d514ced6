/** Which of our processes make one instance, and the environment that each of them gets. */
import { fileURLToPath } from 'node:url';
import { metricsPorts } from '../servers/metrics-ports.ts';
import type { UpOptions } from '../up-options.ts';
import { childEnvironment, type Environment, type ServiceKind } from './child-environment.ts';
import type { Recipe } from './launched-process.ts';
import { serviceRecipe } from './service.ts';

/** Order of the shutdown: the engine after the pool, which removes its containers; Redis last, since everything is written there. */
export const STAGE = {
  gateway: 0,
  harness: 1,
  'sandbox-pool': 2,
  egress: 3,
  docker: 4,
  containerd: 5,
  'fake-model': 6,
  nats: 7,
  redis: 8,
} as const;

const ENTRY: Readonly<Record<ServiceKind, string>> = {
  gateway: 'gateway/dist/main.js',
  harness: 'harness/dist/main.js',
  'sandbox-pool': 'sandbox-pool/dist/main.js',
  egress: 'egress/dist/main.js',
  'fake-model': 'model/dist/fake/main.js',
};
/** The program that makes the base image of containers, and ends. */
export const IMAGE_ENTRY = entryPath('sandbox-pool/dist/image-main.js');

const DRAIN_MS = 2_000;

export interface ServicePlan {
  options: UpOptions;
  /** The user's environment. */
  environment: Environment;
  logs: string;
  redisUrl: string;
  natsUrl: string;
  apiKey: string;
  listenFd: number;
  /** Variables that tell the pool what its sandboxes are made of. */
  sandbox: Readonly<Record<string, string>>;
  /** Port of the fake model; null for none. */
  fakeModelPort: number | null;
}

export function planServices(plan: ServicePlan): { recipe: Recipe; stage: number }[] {
  const { options, redisUrl, natsUrl, fakeModelPort } = plan;
  const data = { MANYHANDS_DATA: options.dataDir };
  const redis = { REDIS_URL: redisUrl };
  const nats = { NATS_URL: natsUrl };
  const model: Record<string, string> = fakeModelPort === null ? {} : { MANYHANDS_MODEL_BASE_URL: `http://127.0.0.1:${fakeModelPort}` };
  const gateway = {
    ...redis,
    ...data,
    MANYHANDS_API_KEY: plan.apiKey,
    MANYHANDS_LISTEN_FD: '4',
    MANYHANDS_RATE_LIMITS: options.rateLimits,
  };
  // When all of an instance ends, nobody takes over what runs: it is cut off soon, and goes on with the next start.
  const drain = { MANYHANDS_DRAIN_MS: String(DRAIN_MS) };
  const pool = { ...nats, ...data, ...drain, ...plan.sandbox };

  const ports = metricsPorts(options.metricsPort, options);

  function service(kind: ServiceKind, number: number, own: Readonly<Record<string, string>>) {
    const port = ports.get(`${kind}-${number}`);
    const operations: Record<string, string> = port === undefined ? {} : { MANYHANDS_OPS_LISTEN: `127.0.0.1:${port}` };
    const recipe = serviceRecipe({
      name: `${kind}-${number}`,
      entry: entryPath(ENTRY[kind]),
      env: childEnvironment(kind, plan.environment, { ...own, ...operations, MANYHANDS_LOG_LEVEL: options.logLevel }),
      logs: plan.logs,
      tie: kind === 'sandbox-pool' ? 'pipe' : 'kernel',
      ...(kind === 'gateway' ? { listenFd: plan.listenFd } : {}),
    });
    return { recipe, stage: STAGE[kind] };
  }
  return [
    ...(fakeModelPort === null ? [] : [service('fake-model', 1, { MANYHANDS_FAKE_MODEL_PORT: String(fakeModelPort) })]),
    service('egress', 1, { ...nats, ...data }),
    service('sandbox-pool', 1, pool),
    ...numbers(options.workers).map((number) => service('harness', number, { ...redis, ...nats, ...data, ...drain, ...model })),
    ...numbers(options.gateways).map((number) => service('gateway', number, gateway)),
  ];
}

function entryPath(inPackages: string): string {
  return fileURLToPath(new URL(`../../../../${inPackages}`, import.meta.url));
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}
