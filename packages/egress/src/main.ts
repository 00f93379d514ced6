/** The egress process: one per sandbox host, any number besides for `web_fetch` and `web_search`. */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import {
  commonEnv,
  connectMessaging,
  createLifecycle,
  createLogger,
  createMetrics,
  loadEnv,
  runMain,
  serveOperations,
  systemClock,
} from '@manyhands/base';
import { z } from 'zod';
import { createEgressMetrics } from './metrics.ts';
import { createConnector } from './proxy/connector.ts';
import { createEgressSockets } from './proxy/egress-sockets.ts';
import { createReachPolicy } from './proxy/reach-policy.ts';
import { searchEnv, searchProvider } from './search/provider-settings.ts';
import { createWebSearch } from './search/web-search.ts';
import { serveEgress } from './serve-egress.ts';
import { createHeldBodies } from './web/held-bodies.ts';
import { createPageFetch } from './web/page-fetch.ts';

const SWEEP_INTERVAL_MS = 5_000;

runMain(async () => {
  const env = loadEnv(
    z.object({
      NATS_URL: commonEnv.NATS_URL,
      MANYHANDS_DATA: commonEnv.MANYHANDS_DATA,
      MANYHANDS_LOG_LEVEL: commonEnv.MANYHANDS_LOG_LEVEL,
      MANYHANDS_OPS_LISTEN: commonEnv.MANYHANDS_OPS_LISTEN,
      /** Names the sandbox host; its pool uses the same. A part of NATS subjects. */
      MANYHANDS_HOST_ID: z
        .string()
        .regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be 1 to 64 letters, digits, "_" or "-"')
        .default('local'),
      /** More ranges that nothing may reach: CIDR, separated by commas. */
      MANYHANDS_EGRESS_EXTRA_DENY: z.string().default(''),
      ...searchEnv,
    }),
    process.env,
  );
  const log = createLogger('egress', env.MANYHANDS_LOG_LEVEL);
  const extraDeny = env.MANYHANDS_EGRESS_EXTRA_DENY.split(',')
    .map((range) => range.trim())
    .filter((range) => range !== '');
  const connector = createConnector({ policy: createReachPolicy({ extraDeny }) });
  const provider = searchProvider(env);
  const lifecycle = createLifecycle(log, process.env);
  const registry = createMetrics('egress');
  const metrics = createEgressMetrics(registry);
  const operations = await serveOperations({ listen: env.MANYHANDS_OPS_LISTEN, metrics: registry, lifecycle, log });

  const sandboxesPath = path.join(env.MANYHANDS_DATA, 'sandboxes');
  const sockets = createEgressSockets({ sandboxesPath, connector, log, clock: systemClock, metrics });
  lifecycle.onShutdown('sockets', () => sockets.closeAll());
  // Before anything is asked: sandboxes that were there before must not wait for NATS.
  const opened = await sockets.openAll();
  const sweeping = setInterval(
    () => void sockets.sweep().catch((error: unknown) => log.warn({ err: error }, 'sweep failed')),
    SWEEP_INTERVAL_MS,
  );
  lifecycle.onShutdown('sweep', () => clearInterval(sweeping));

  const messaging = await connectMessaging(env.NATS_URL, log, 'egress');
  lifecycle.onShutdown('nats', () => messaging.close());
  operations.check('nats', () => messaging.ping());
  const bodies = createHeldBodies({ messaging, mintName: () => randomBytes(16).toString('base64url') });
  lifecycle.onShutdown('bodies', () => bodies.close());
  const pages = createPageFetch({ connector, log, clock: systemClock, metrics, bodies, maxReplyBytes: messaging.maxPayloadBytes });
  const search = provider && createWebSearch({ provider, log, clock: systemClock, metrics });
  const serving = serveEgress({ messaging, hostId: env.MANYHANDS_HOST_ID, sockets, pages, search, log });
  lifecycle.onShutdown('serving', () => serving.stop());
  // Who hears that this process is ready may ask at once: the server knows its subscriptions by then.
  await messaging.ping();
  lifecycle.ready({ hostId: env.MANYHANDS_HOST_ID, sandboxes: opened, search: provider?.name ?? null, ops_port: operations.port });
});
