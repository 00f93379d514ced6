/** What the parts cost by themselves, for the floors: an HTTP server that does one durable XADD and streams it, a BullMQ queue of nothing. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createRedis } from '@manyhands/base';
import { silentLogger } from '@manyhands/test-kit';
import { Queue, Worker } from 'bullmq';

/** POST: one XADD of the body, then an answer. GET: an event stream of what is added, over XREAD. */
export async function startBareServer(redisUrl: string, key: string) {
  const redis = createRedis(redisUrl, 'patient', silentLogger, 'bare');
  const reader = createRedis(redisUrl, 'patient', silentLogger, 'bare-reader');
  const server = createServer(async (request, response) => {
    if (request.method === 'POST') {
      let body = '';
      for await (const text of request.setEncoding('utf8')) body += text;
      await redis.xadd(key, '*', 'e', body);
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    let last = '$';
    for (;;) {
      const reply = (await reader.xread('BLOCK', 0, 'STREAMS', key, last).catch(() => null)) as [string, [string, string[]][]][] | null;
      if (!reply) return;
      for (const [id, fields] of reply[0]![1]) {
        last = id;
        response.write(`event: x\ndata: ${fields[1]}\n\n`);
      }
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      redis.disconnect();
      reader.disconnect();
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A queue whose one job does nothing; `start` resolves to the milliseconds from `add` to its start. */
export async function startBareQueue(redisUrl: string) {
  const connections = ['bare-queue', 'bare-worker'].map((name) => createRedis(redisUrl, 'patient', silentLogger, name));
  const queue = new Queue('bench', { connection: connections[0]!, prefix: '{bench}' });
  let started: (at: number) => void = () => {};
  const worker = new Worker('bench', async () => started(performance.now()), { connection: connections[1]!, prefix: '{bench}' });
  await worker.waitUntilReady();
  return {
    async start(): Promise<number> {
      const at = new Promise<number>((resolve) => {
        started = resolve;
      });
      const begin = performance.now();
      await queue.add('noop', { a: 1 });
      return (await at) - begin;
    },
    async close() {
      await worker.close();
      await queue.close();
      for (const connection of connections) connection.disconnect();
    },
  };
}
