/**
 * Sharded publish and subscribe (Redis 7) over few connections, whatever kind of Redis it is: one connection to a single server or to the
 * master behind sentinels, one to each master of a cluster. Messages are published with SPUBLISH on the same channel.
 *
 * Messages are lost while a connection is away; who has to miss nothing reads after `onGap`.
 *
 * - S1 A channel is wanted while it has listeners. Only `settle` sends, only what its state lacks, and nothing while an answer is due: at most
 *   one SSUBSCRIBE or SUNSUBSCRIBE of a channel is under way, and none is queued, whatever happens.
 * - S2 `ready` resolves, and `onGap` is told, when the server has confirmed the subscriptions: what is published from then on arrives.
 * - S3 `onGap` is told after each time at which a subscription that had been confirmed was lost and is confirmed again; for many lost at
 *   once, once, when the last of them is back that can be.
 */
import { AppError, ensureError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { withoutCommand } from './redis.ts';
import { parseRedisUrl } from './redis-url.ts';
import { type Link, openLinks, type Routed } from './subscriber-links.ts';

/** Codes of a server that is about to change, or of a slot that has moved. */
const PASSING = /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN|MASTERDOWN|LOADING|READONLY|UNBLOCKED)\b/;

export interface Subscription {
  /** Resolves when the server knows the subscription. Rejects with AppError `aborted` if it is closed before that. */
  readonly ready: Promise<void>;
  close(): void;
}

export interface Subscriber {
  /** Several listeners of a channel share one subscription. While there is no connection it waits for one. */
  subscribe(channel: string, onMessage: (message: string) => void): Subscription;
  /** Called when subscriptions exist again that were lost: messages may be missing. */
  onGap(listener: () => void): void;
  close(): Promise<void>;
}

interface Listener {
  onMessage(message: string): void;
  confirm(): void;
  refuse(error: AppError): void;
}
interface Channel extends Routed {
  readonly listeners: Set<Listener>;
  /** Where it belongs; null while that is not known. */
  link: Link | null;
  /** `asking` and `leaving`: the answer to a command is due. */
  state: 'away' | 'asking' | 'held' | 'leaving';
  /** It was held and then lost: what was published meanwhile is missing. */
  lost: boolean;
}

/** Throws AppError `configuration` for a URL that cannot be used. */
export function createSubscriber(url: string, log: Logger, name: string): Subscriber {
  const place = parseRedisUrl(url);
  const channels = new Map<string, Channel>();
  const onLink = new Map<Link, Set<Channel>>();
  const gapListeners: (() => void)[] = [];
  /** Lost channels that are being asked for; the gap is told when none is left. */
  const remaking = new Set<Channel>();
  let gap = false;
  let told = false;
  let closed = false;
  const links = openLinks(place, log, name, {
    up: (link) => settleAll(onLink.get(link) ?? []),
    down,
    message,
    changed: () => settleAll(channels.values()),
    isUsed: (link) => (onLink.get(link)?.size ?? 0) > 0,
  });

  function settleAll(some: Iterable<Channel>): void {
    for (const channel of [...some]) settle(channel);
    tellGap();
  }
  /** S1 */
  function settle(channel: Channel): void {
    if (channel.state === 'asking' || channel.state === 'leaving') return;
    if (channel.listeners.size === 0) {
      if (channel.state === 'held') leave(channel);
      else forget(channel);
      return;
    }
    const link = links.of(channel);
    if (link !== channel.link) move(channel, link);
    if (channel.state === 'away' && link?.up) ask(channel, link);
  }
  function ask(channel: Channel, link: Link): void {
    const { life } = link;
    channel.state = 'asking';
    if (channel.lost) remaking.add(channel);
    link.redis.ssubscribe(channel.name).then(
      () => {
        if (link.life !== life) return;
        channel.state = 'held';
        if (channel.lost) gap = true;
        channel.lost = false;
        remaking.delete(channel);
        for (const listener of channel.listeners) listener.confirm();
        settle(channel);
        tellGap();
      },
      (error: unknown) => {
        if (link.life !== life) return;
        tellRefusal(ensureError(error));
        channel.state = 'away';
        remaking.delete(channel);
        if (channel.listeners.size === 0) forget(channel);
        else links.refused();
        tellGap();
      },
    );
  }
  /** What passes by itself is part of any fail-over; anything else somebody has to mend, and is told once. */
  function tellRefusal(error: Error): void {
    const passes = error.name !== 'ReplyError' || PASSING.test(error.message);
    log[passes || told ? 'debug' : 'warn']({ err: withoutCommand(error), connection: name }, 'subscription refused; tried again');
    told ||= !passes;
  }
  function leave(channel: Channel): void {
    const { link } = channel;
    if (!link) return;
    const { life } = link;
    channel.state = 'leaving';
    const left = () => {
      if (link.life !== life) return;
      channel.state = 'away';
      settle(channel);
    };
    link.redis.sunsubscribe(channel.name).then(left, left);
  }
  /** The slot has another owner. */
  function move(channel: Channel, link: Link | null): void {
    if (channel.state === 'held') {
      if (channel.link?.up) channel.link.redis.sunsubscribe(channel.name).catch(() => {});
      channel.state = 'away';
      channel.lost = true;
    }
    put(channel, link);
  }
  function put(channel: Channel, link: Link | null): void {
    if (channel.link) {
      const others = onLink.get(channel.link);
      others?.delete(channel);
      if (others?.size === 0) onLink.delete(channel.link);
    }
    channel.link = link;
    if (!link) return;
    const those = onLink.get(link) ?? new Set();
    onLink.set(link, those.add(channel));
  }
  function forget(channel: Channel): void {
    put(channel, null);
    remaking.delete(channel);
    channels.delete(channel.name);
  }
  function down(link: Link): void {
    for (const channel of [...(onLink.get(link) ?? [])]) {
      if (channel.state === 'held') channel.lost = true;
      channel.state = 'away';
      remaking.delete(channel);
      if (channel.listeners.size === 0) forget(channel);
    }
    tellGap();
  }
  /** S3 */
  function tellGap(): void {
    if (!gap || remaking.size > 0 || closed) return;
    gap = false;
    for (const listener of gapListeners) guarded(listener);
  }
  function message(link: Link, name: string, text: string): void {
    const channel = channels.get(name);
    // From a node that the channel was taken from it would come twice.
    if (channel?.link !== link) return;
    for (const listener of channel.listeners) guarded(() => listener.onMessage(text));
  }
  function guarded(call: () => void): void {
    try {
      call();
    } catch (error) {
      log.error({ err: ensureError(error) }, 'a subscription listener failed');
    }
  }

  return {
    subscribe(name, onMessage) {
      let listener: Listener | null = null;
      const ready = new Promise<void>((confirm, refuse) => {
        listener = { onMessage, confirm, refuse };
      });
      // Who does not wait for it does not want to know.
      ready.catch(() => {});
      const own = listener as unknown as Listener;
      if (closed) {
        own.refuse(new AppError('aborted', 'the subscriber is closed'));
        return { ready, close: () => {} };
      }
      let channel = channels.get(name);
      if (!channel) {
        channel = { name, slot: null, listeners: new Set(), link: null, state: 'away', lost: false };
        channels.set(name, channel);
      }
      const subscribed = channel;
      subscribed.listeners.add(own);
      if (subscribed.state === 'held') own.confirm();
      else settle(subscribed);
      return {
        ready,
        close() {
          own.refuse(new AppError('aborted', 'the subscription is closed'));
          if (subscribed.listeners.delete(own)) settle(subscribed);
        },
      };
    },
    onGap: (listener) => void gapListeners.push(listener),
    async close() {
      if (closed) return;
      closed = true;
      links.close();
      for (const { listeners } of channels.values())
        for (const listener of listeners) listener.refuse(new AppError('aborted', 'the subscriber is closed'));
      channels.clear();
    },
  };
}
