/** A log on a private Redis with its followers, for tests of this package. */
import { type BlobStore, createDirectoryBlobStore } from '@manyhands/blobs';
import { silentLogger, startTestRedis } from '@manyhands/test-kit';
import { createFeed } from '../src/index.ts';
import { logFixtureOn } from './log-fixture.ts';

export { AGENT, HOUR_NANO, message, WORKSPACE } from './log-fixture.ts';

/** What is put is kept, under its own bytes; enough for bodies. */
export function createMemoryBlobStore(): BlobStore {
  const bodies = new Map<string, Buffer>();
  const store = createDirectoryBlobStore('/nonexistent');
  return {
    ...store,
    async put(key, body) {
      if (!Buffer.isBuffer(body)) throw new TypeError('streams are not kept here');
      bodies.set(key, body);
      return { bytes: body.byteLength };
    },
    get: async (key) => bodies.get(key) ?? null,
  };
}

export async function startFixture() {
  return fixtureOn(await startTestRedis());
}
/** On a server of another kind, which ends with it. */
export async function fixtureOn<S extends AsyncDisposable & { readonly url: string }>(server: S) {
  const fixture = await logFixtureOn(server);
  const feed = createFeed({ redisUrl: server.url, redis: fixture.redis, blobs: fixture.blobs, log: silentLogger });
  return {
    ...fixture,
    feed,
    async [Symbol.asyncDispose]() {
      await feed.close();
      await fixture[Symbol.asyncDispose]();
    },
  };
}
export type Fixture = Awaited<ReturnType<typeof startFixture>>;
