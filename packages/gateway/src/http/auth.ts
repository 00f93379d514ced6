/**
 * Authentication. A key comes as `authorization: Bearer`, as `x-api-key`, or, below /admin only, as the password of HTTP basic.
 *
 * I12: nothing but the health checks answers without a key, unknown paths and broken requests included; a key sees its own workspace only.
 *
 * A valid key is cached for KEY_CACHE_MS, so that most requests cost no round trip; a revoked key therefore works for at most that long in
 * other gateways, and not at all in the one that revoked it. Unknown keys are never cached.
 */
import { WireError } from '@manyhands/base';
import type { KeyScope } from '@manyhands/contract';
import { type ApiKeyStore, hashKey, type KeyIdentity } from '@manyhands/store';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { LRUCache } from 'lru-cache';
import type { RedisReadiness } from './redis-readiness.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set before any handler runs; only health checks go without. */
    identity: KeyIdentity | null;
  }
}

export const KEY_CACHE_MS = 2_000;
const CACHED_KEYS_MAX = 10_000;
const OPEN_PATHS = new Set(['/healthz', '/readyz']);
export const ADMIN_PREFIX = '/admin';

function pathOf(url: string): string {
  const mark = url.search(/[?#]/);
  return mark < 0 ? url : url.slice(0, mark);
}
function isAdmin(url: string): boolean {
  const path = pathOf(url);
  return path === ADMIN_PREFIX || path.startsWith(`${ADMIN_PREFIX}/`);
}

interface Presented {
  key: string;
  /** A browser attaches basic credentials by itself, so they prove nothing about who made the request. */
  ambient: boolean;
}
export function presentedKey(request: FastifyRequest): Presented | null {
  const authorization = request.headers.authorization;
  if (authorization !== undefined) {
    const [scheme = '', value = ''] = authorization.trim().split(/\s+/, 2);
    if (scheme.toLowerCase() === 'bearer' && value !== '') return { key: value, ambient: false };
    if (scheme.toLowerCase() === 'basic' && isAdmin(request.url)) {
      const [, password] = /^[^:]*:(.*)$/s.exec(Buffer.from(value, 'base64').toString('utf8')) ?? [];
      if (password) return { key: password, ambient: true };
    }
  }
  const header = request.headers['x-api-key'];
  return typeof header === 'string' && header !== '' ? { key: header, ambient: false } : null;
}

export interface Auth {
  /** The `onRequest` hook: sets `request.identity` or refuses. */
  hook(request: FastifyRequest, reply: FastifyReply): Promise<void>;
  /** Removes a key from this process's cache at once. */
  forget(keyId: string): void;
}

export function createAuth(apiKeys: ApiKeyStore, redis: RedisReadiness, nowMs: () => number): Auth {
  const known = new LRUCache<string, { identity: KeyIdentity; untilMs: number }>({ max: CACHED_KEYS_MAX });
  /** Lookups under way, so that a burst with one key asks once. */
  const asking = new Map<string, Promise<KeyIdentity | null>>();

  async function look(keyText: string, digest: string): Promise<KeyIdentity | null> {
    const identity = await apiKeys.authenticate(keyText);
    if (identity) known.set(digest, { identity, untilMs: nowMs() + KEY_CACHE_MS });
    return identity;
  }
  function identify(keyText: string): KeyIdentity | Promise<KeyIdentity | null> {
    const digest = hashKey(keyText);
    const cached = known.get(digest);
    if (cached && cached.untilMs > nowMs()) return cached.identity;
    known.delete(digest);
    let answer = asking.get(digest);
    if (!answer) {
      answer = look(keyText, digest).finally(() => asking.delete(digest));
      asking.set(digest, answer);
    }
    return answer;
  }

  return {
    async hook(request, reply) {
      if (OPEN_PATHS.has(pathOf(request.url))) return;
      const refuse = (message: string) => {
        if (isAdmin(request.url)) reply.header('www-authenticate', 'Basic realm="Manyhands", charset="UTF-8"');
        return new WireError('authentication_error', message);
      };
      const presented = presentedKey(request);
      if (!presented) throw refuse('no API key; send it as "authorization: Bearer <key>" or "x-api-key: <key>"');
      if (!redis.isReady) await redis.waitUntilReady();
      const found = identify(presented.key);
      const identity = found instanceof Promise ? await found : found;
      if (!identity) throw refuse('this API key is unknown or revoked');
      const workspace = request.headers['anthropic-workspace-id'];
      if (workspace !== undefined && workspace !== '' && workspace !== identity.workspace_id)
        throw new WireError('permission_error', 'anthropic-workspace-id: this API key belongs to another workspace');
      request.identity = identity;
      reply.header('anthropic-workspace-id', identity.workspace_id);
    },
    forget(keyId) {
      for (const [digest, { identity }] of [...known]) if (identity.id === keyId) known.delete(digest);
    },
  };
}

/** The identity of a request behind the hook. */
export function identityOf(request: FastifyRequest): KeyIdentity {
  if (!request.identity) throw new WireError('authentication_error', 'no API key');
  return request.identity;
}
export function requireScope(identity: KeyIdentity, scope: KeyScope): void {
  if (!identity.scopes.includes(scope))
    throw new WireError('permission_error', `this needs an API key with the scope "${scope}"; this key has: ${identity.scopes.join(', ')}`);
}
