/** A pool in this process over real NATS and real sandboxes. */
import { mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import { connectMessaging, createMetrics, randomIds, systemClock } from '@manyhands/base';
import { type BlobStore, createDirectoryBlobStore } from '@manyhands/blobs';
import { silentLogger, type TestServer, temporaryDirectory } from '@manyhands/test-kit';
import {
  createBubblewrapDriver,
  createEgressPolicies,
  createPoolMetrics,
  noEgress,
  openPoolDirectory,
  openSandboxPool,
  type SandboxPool,
  type SandboxPoolOptions,
  servePool,
} from '../src/index.ts';
import { driverOptions, tracesOf } from './bubblewrap-host.ts';
import { createPoolClient, type PoolClient } from './pool-client.ts';

const MIB = 1024 * 1024;

export interface PoolHost extends AsyncDisposable {
  pool: SandboxPool;
  client: PoolClient;
  blobs: BlobStore;
  poolRoot: string;
  sandboxDirectories: () => Promise<string[]>;
  /** What is left on this host of all sandboxes that the pool ever had a directory for. */
  traces: () => Promise<string[]>;
}

export async function startPoolHost(
  nats: TestServer,
  change: Partial<Omit<SandboxPoolOptions, 'egress'>> & { egress?: boolean } = {},
): Promise<PoolHost> {
  const directory = await temporaryDirectory('pool');
  const poolRoot = path.join(directory.path, 'sandboxes');
  const { poolId } = await openPoolDirectory(poolRoot, randomIds);
  const blobRoot = path.join(directory.path, 'blobs');
  await mkdir(blobRoot);
  const blobs = createDirectoryBlobStore(blobRoot);
  const messaging = await connectMessaging(nats.url, silentLogger, 'pool');
  const { egress = false, ...options } = change;
  let update = () => {};
  const pool = await openSandboxPool(
    {
      ...{ poolRoot, poolId, blobs, ids: randomIds, clock: systemClock, log: silentLogger },
      metrics: createPoolMetrics(createMetrics('sandbox-pool')),
      driver: createBubblewrapDriver({ ...(await driverOptions(poolRoot)), poolId, log: silentLogger }),
      egress: egress ? createEgressPolicies({ messaging, hostId: poolId, log: silentLogger }) : noEgress,
      limits: { memoryBytes: 384 * MIB, pids: 128, fileBytes: 64 * MIB, tmpBytes: 16 * MIB },
      ...{ warm: 1, max: 4, concurrency: 2, graceMs: 60_000, leaseTtlMs: 600_000, tickMs: 50 },
      ...options,
    },
    () => update(),
  );
  const service = servePool({ messaging, pool, blobs, log: silentLogger });
  update = service.update;
  await pool.firstWarm;
  const client = createPoolClient(messaging);
  const sandboxDirectories = async () => (await readdir(poolRoot)).filter((name) => name.includes('sbx_'));
  return {
    ...{ pool, client, blobs, poolRoot, sandboxDirectories },
    traces: () => tracesOf(directory.path),
    async [Symbol.asyncDispose]() {
      await service.stop();
      await pool.drain();
      await messaging.close();
      await directory.remove();
    },
  };
}
