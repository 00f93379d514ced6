/** Health checks: /healthz (the process lives) and /readyz (it can serve). The two paths that answer without a key (I12). */
import { ensureError, pingRedis, type Redis } from '@manyhands/base';
import type { FastifyInstance } from 'fastify';
import { unavailable } from '../../http/errors.ts';

/** Load balancers ask either way. */
const METHODS = ['GET', 'HEAD'];
const REDIS_ANSWER_MS = 1_000;

export function registerHealth(app: FastifyInstance, redis: Redis, isClosing: () => boolean): void {
  app.route({ method: METHODS, url: '/healthz', handler: async () => ({ status: 'ok' }) });

  app.route({ method: METHODS, url: '/readyz', handler: readiness });

  async function readiness() {
    if (isClosing()) throw unavailable('shutting down');
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${REDIS_ANSWER_MS} ms`)), REDIS_ANSWER_MS);
    });
    try {
      await Promise.race([pingRedis(redis), late]);
    } catch (error) {
      throw unavailable(`Redis does not answer: ${ensureError(error).message}`);
    } finally {
      clearTimeout(timer);
    }
    return { status: 'ready' };
  }
}
