/**
 * Bull Board at /admin/queues, for operators. Read-only unless MANYHANDS_ADMIN_WRITABLE is set. Browsers attach basic credentials to requests
 * of any page, so a request that changes something must come from the board's own pages.
 */
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { FastifyAdapter } from '@bull-board/fastify';
import { WireError } from '@manyhands/base';
import type { TurnQueue } from '@manyhands/turn-queue';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ADMIN_PREFIX, identityOf, presentedKey, requireScope } from '../../http/auth.ts';

export const BOARD_PATH = `${ADMIN_PREFIX}/queues`;
const READING_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);

function isSameOrigin(request: FastifyRequest): boolean {
  const site = request.headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin') return false;
  const { origin, host } = request.headers;
  if (origin !== undefined) return URL.canParse(origin) && new URL(origin).host === host;
  // Neither header: not a current browser. Fine for a key that was put there by hand, not for one a browser attaches by itself.
  return site === 'same-origin' || presentedKey(request)?.ambient === false;
}

export function registerBoard(app: FastifyInstance, turnQueue: TurnQueue, writable: boolean): void {
  const adapter = new FastifyAdapter();
  adapter.setBasePath(BOARD_PATH);
  createBullBoard({
    queues: turnQueue.queues.map((queue) => new BullMQAdapter(queue, { readOnlyMode: !writable })),
    serverAdapter: adapter,
    options: { uiConfig: { boardTitle: 'Manyhands queues' } },
  });
  // Thrown again, an error reaches the handler of the whole server: the board has no envelope of its own.
  adapter.setErrorHandler((error) => {
    throw error;
  });
  void app.register(async (scope) => {
    scope.addHook('onRequest', async (request) => {
      requireScope(identityOf(request), 'operator');
      if (READING_METHODS.has(request.method)) return;
      if (!writable)
        throw new WireError(
          'permission_error',
          'the board is read-only; start the gateway with MANYHANDS_ADMIN_WRITABLE=1 to change queues',
        );
      if (!isSameOrigin(request)) throw new WireError('permission_error', 'changes are accepted from the pages of the board only');
    });
    await scope.register(adapter.registerPlugin(), { prefix: BOARD_PATH });
  });
}
