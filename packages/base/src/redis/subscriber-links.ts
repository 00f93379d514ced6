/**
 * The connections that a subscriber holds its channels on: one to a single server or to the master behind sentinels, one to each master of a
 * cluster that has channels.
 *
 * For clusters this is not the library's own group of sharded subscribers: that one tells neither when a subscription exists again nor that
 * one could not be made, and connects to a node that is gone again and again without a pause.
 *
 * - L1 A link is `up` from the moment its server takes commands until the connection is lost; `life` counts its connections, so that an
 *   answer that belongs to a lost one is told from a current one.
 * - L2 Silence is noticed: each link is asked every HEARTBEAT_MS, and given up when nothing comes for SILENCE_MS.
 * - L3 The map of slots is read anew after whatever may have changed it, and every MAP_EVERY_MS; one reading at a time, with a growing pause
 *   while something is wrong. A node that does not see all slots served, or an older epoch, is not believed.
 */
import { Command, Redis } from 'ioredis';
import { backoffMs } from '../backoff.ts';
import { withinMs } from '../deadline.ts';
import { AppError, ensureError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { watchConnection, withoutCommand } from './redis.ts';
import { type ClusterPlace, CONNECT_MS, connectionOptions, retryDelayMs, sentinelOptions } from './redis-options.ts';
import type { RedisAddress, RedisPlace } from './redis-url.ts';

const HEARTBEAT_MS = 2_000;
const SILENCE_MS = 5_000;
const MAP_EVERY_MS = 10_000;
const MAP_ANSWER_MS = 1_000;
const RETRY_BASE_MS = 50;
const RETRY_CAP_MS = 1_000;

export interface Link {
  readonly redis: Redis;
  readonly up: boolean;
  readonly life: number;
}

export interface LinkEvents {
  /** It takes commands; nothing is subscribed on it. */
  up(link: Link): void;
  /** All that was subscribed on it, or asked for, is gone. */
  down(link: Link): void;
  message(link: Link, channel: string, message: string): void;
  /** `of` may answer differently now, or a refused subscription may be tried again. */
  changed(): void;
  /** Whether a link is still needed. */
  isUsed(link: Link): boolean;
}

export interface Routed {
  readonly name: string;
  /** Of a cluster; null until it was needed. */
  slot: number | null;
}

export interface Links {
  /** Where the channel belongs now; null while that is not known. */
  of(channel: Routed): Link | null;
  /** The server did not take a subscription: `changed` is told when it may be tried again. */
  refused(): void;
  close(): void;
}

export function openLinks(place: RedisPlace, log: Logger, name: string, events: LinkEvents): Links {
  return place.kind === 'cluster' ? clusterLinks(place, log, name, events) : oneLink(place, log, name, events);
}

function subscriberOptions(name: string) {
  return {
    ...connectionOptions(name, 'patient'),
    // Nothing queues and nothing is sent again behind the subscriber's back.
    ...{ enableOfflineQueue: false, autoResubscribe: false, autoResendUnfulfilledCommands: false },
    ...{ retryStrategy: retryDelayMs, connectTimeout: CONNECT_MS, socketTimeout: SILENCE_MS },
  };
}

interface OwnLink extends Link {
  /** The same as when the connection was lost and made again, for the subscriber: what it holds is in doubt. */
  doubt(): void;
  close(): void;
}

function createLink(redis: Redis, events: LinkEvents): OwnLink {
  let up = false;
  let life = 0;
  const heartbeat = setInterval(() => {
    if (up) redis.ping().catch(nothing);
  }, HEARTBEAT_MS);
  heartbeat.unref();
  const link: OwnLink = {
    redis,
    get up() {
      return up;
    },
    get life() {
      return life;
    },
    doubt() {
      if (!up) return;
      life++;
      events.down(link);
      events.up(link);
    },
    close() {
      up = false;
      life++;
      clearInterval(heartbeat);
      redis.disconnect();
    },
  };
  redis.on('ready', () => {
    up = true;
    events.up(link);
  });
  redis.on('close', () => {
    up = false;
    life++;
    events.down(link);
  });
  redis.on('smessage', (channel: string, message: string) => events.message(link, channel, message));
  return link;
}

function oneLink(place: Exclude<RedisPlace, ClusterPlace>, log: Logger, name: string, events: LinkEvents): Links {
  const options = subscriberOptions(name);
  const redis = place.kind === 'single' ? new Redis(place.url, options) : new Redis({ ...options, ...sentinelOptions(place) });
  watchConnection(redis, log, name);
  const link = createLink(redis, events);
  const retry = createRetry(log, () => {
    events.changed();
    return true;
  });
  return {
    of: () => link,
    refused: () => retry.afterFailure(),
    close() {
      retry.close();
      link.close();
    },
  };
}

interface SlotMap {
  epoch: number;
  ranges: { first: number; last: number; owner: RedisAddress }[];
}

function clusterLinks(place: ClusterPlace, log: Logger, name: string, events: LinkEvents): Links {
  const options = { ...subscriberOptions(name), ...place.credentials };
  const links = new Map<string, OwnLink>();
  const doubtful = new Set<OwnLink>();
  let map: SlotMap | null = null;
  /** No node could be asked; told once. */
  let blind = false;
  const reading = createRetry(log, readAgain);
  const regularly = setInterval(() => reading.soon(), MAP_EVERY_MS);
  regularly.unref();

  function linkTo(owner: RedisAddress): OwnLink {
    const key = keyOf(owner);
    const known = links.get(key);
    if (known) return known;
    const redis = new Redis({ ...options, ...owner });
    watchConnection(redis, log, `${name} ${key}`);
    redis.on('close', () => reading.soon());
    // The server took a channel away: its slot has another owner.
    redis.on('moved', () => {
      doubtful.add(link);
      reading.soon();
    });
    const link = createLink(redis, events);
    links.set(key, link);
    return link;
  }

  /** Those that are connected first, of them those that know of a change. */
  function* candidates(): Generator<{ address: RedisAddress; redis: Redis | null }> {
    const up = [...links.values()].filter((link) => link.up).sort((a, b) => Number(doubtful.has(b)) - Number(doubtful.has(a)));
    for (const { redis } of up) yield { address: addressOf(redis), redis };
    const asked = new Set(up.map(({ redis }) => keyOf(addressOf(redis))));
    for (const address of [...(map?.ranges ?? []).map(({ owner }) => owner), ...place.nodes]) {
      if (asked.has(keyOf(address))) continue;
      asked.add(keyOf(address));
      yield { address, redis: null };
    }
  }
  async function readMap(): Promise<SlotMap> {
    let best: SlotMap | null = null;
    let problem: unknown = null;
    for (const { address, redis } of candidates()) {
      try {
        const found = await (redis ? mapOf(redis, address) : mapOfOther(address));
        if (!best || found.epoch > best.epoch) best = found;
        if (best.epoch >= (map?.epoch ?? 0)) break;
      } catch (error) {
        problem = error;
      }
    }
    if (!best) throw problem;
    return best;
  }
  async function mapOfOther(address: RedisAddress): Promise<SlotMap> {
    const redis = new Redis({ ...options, ...address, lazyConnect: true, retryStrategy: null });
    redis.on('error', nothing);
    try {
      await withinMs(redis.connect(), MAP_ANSWER_MS);
      return await mapOf(redis, address);
    } finally {
      redis.disconnect();
    }
  }

  /** Answers whether all is well. */
  async function readAgain(): Promise<boolean> {
    let found: SlotMap;
    try {
      found = await readMap();
      if (blind) log.info({ connection: name }, 'the slots of the cluster are known');
      blind = false;
    } catch (error) {
      if (reading.closed) return true;
      if (!blind)
        log.warn({ err: withoutCommand(ensureError(error)), connection: name }, 'no node of the cluster tells who serves its slots');
      blind = true;
      reading.soon();
      return false;
    }
    if (reading.closed) return true;
    map = found;
    const inDoubt = [...doubtful];
    doubtful.clear();
    for (const link of inDoubt) link.doubt();
    events.changed();
    for (const [key, link] of links) {
      if (events.isUsed(link)) continue;
      links.delete(key);
      link.close();
    }
    const well = [...links.values()].every((link) => link.up);
    if (!well) reading.soon();
    return well;
  }

  return {
    of(channel) {
      channel.slot ??= new Command('get', [channel.name]).getSlot();
      const { slot } = channel;
      const range = map?.ranges.find(({ first, last }) => first <= slot && slot <= last);
      if (range) return linkTo(range.owner);
      reading.soon();
      return null;
    },
    refused: () => reading.afterFailure(),
    close() {
      clearInterval(regularly);
      reading.close();
      for (const link of links.values()) link.close();
    },
  };
}

/** What the node knows; throws if it does not see all slots served. */
async function mapOf(redis: Redis, asked: RedisAddress): Promise<SlotMap> {
  const [info, slots] = await withinMs(Promise.all([redis.cluster('INFO'), redis.cluster('SLOTS')]), MAP_ANSWER_MS);
  if (!/^cluster_state:ok\r?$/m.test(info)) throw new AppError('unavailable', 'the cluster does not serve all slots');
  const epoch = Number(/^cluster_current_epoch:(\d+)/m.exec(info)?.[1] ?? 0);
  const ranges = slots.flatMap(([first, last, master]) => {
    if (master === undefined) return [];
    const [host, port] = master as [host: string | null, port: number, ...unknown[]];
    // A node that does not know its own name is where it was asked.
    return [{ first, last, owner: { host: host === null || host === '' || host === '?' ? asked.host : host, port } }];
  });
  return { epoch, ranges };
}

function addressOf(redis: Redis): RedisAddress {
  return { host: redis.options.host ?? '', port: redis.options.port ?? 0 };
}
function keyOf({ host, port }: RedisAddress): string {
  return `${host}:${port}`;
}

interface Retry {
  soon(): void;
  /** Soon as well, but what is tried again in vain is tried less and less often. */
  afterFailure(): void;
  close(): void;
  readonly closed: boolean;
}

/** Work that is due, once however often it is asked for: one at a time, after a pause that grows while it answers that all is not well. */
function createRetry(log: Logger, work: () => Promise<boolean> | boolean): Retry {
  let timer: NodeJS.Timeout | null = null;
  let running = false;
  let due = false;
  let failed = false;
  let attempt = 0;
  let closed = false;

  async function run(): Promise<void> {
    timer = null;
    running = true;
    due = false;
    let well = !failed;
    failed = false;
    try {
      well = (await work()) && well;
      if (!well) attempt++;
      else attempt = 0;
    } catch (error) {
      attempt++;
      due = true;
      log.error({ err: ensureError(error) }, 'subscriptions could not be looked after; tried again');
    }
    running = false;
    if (due) soon();
  }
  function soon(): void {
    due = true;
    if (closed || running || timer) return;
    timer = setTimeout(() => void run(), backoffMs(attempt, RETRY_BASE_MS, RETRY_CAP_MS));
    timer.unref();
  }
  return {
    soon,
    afterFailure() {
      failed = true;
      soon();
    },
    close() {
      closed = true;
      if (timer) clearTimeout(timer);
    },
    get closed() {
      return closed;
    },
  };
}

function nothing(): void {}
