/**
 * Errors below the routes: bytes that are no HTTP, bodies that break off or do not arrive, requests that HTTP itself refuses. Each is answered
 * with the envelope and a request id, and logged.
 *
 * The answers of a connection keep their order: an error behind a request that is being served is answered after that request.
 */
import { type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { type IdSource, invalidRequest, type Logger, type WireError } from '@manyhands/base';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { errorBody, errorHeaders, noSuchEndpoint, sendError } from './errors.ts';

/** The `onRequest` hook for what HTTP itself refuses; runs after the hook that authenticates. */
export function checkHead({ raw }: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void {
  const { host, expect } = raw.headers;
  if (host === undefined && raw.httpVersion === '1.1') done(invalidRequest('host: HTTP/1.1 demands this header'));
  else if (expect !== undefined && expect.toLowerCase() !== '100-continue')
    done(invalidRequest('expect: only 100-continue is known', { status: 417 }));
  else done();
}

/** Errors of a socket that can take no answer. */
const GONE = new Set(['ECONNRESET', 'EPIPE']);

interface Exchange {
  request: FastifyRequest;
  reply: FastifyReply;
}
export interface Arrival {
  /** How long a body may take, and the rest of one that is answered already. */
  limitMs: number;
  /** Requests whose body may take longer: who reads it watches it. */
  isUnlimited(request: FastifyRequest): boolean;
}
export interface BrokenRequests {
  /** For the HTTP server's `clientError`. */
  onClientError(error: NodeJS.ErrnoException, socket: Socket): void;
  /** Adds a hook, to come before all others that may refuse. */
  register(app: FastifyInstance, arrival: Arrival): void;
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
}
function tooSlow(): WireError {
  return invalidRequest('the request did not arrive in time; send it again', { errorCode: 'request_body_timeout', shouldRetry: true });
}
function describe({ code }: NodeJS.ErrnoException): WireError {
  if (code === 'HPE_HEADER_OVERFLOW') return invalidRequest('the request headers are too large', { status: 431 });
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return tooSlow();
  return invalidRequest('the request is not valid HTTP');
}

export function createBrokenRequests(ids: IdSource, log: Logger): BrokenRequests {
  /** The newest request of each connection, until it is answered; longer if its body is still arriving then. */
  const underWay = new WeakMap<Socket, Exchange | 'answered early'>();

  /** Answers what never became a request, and ends the connection. */
  function answerRaw(socket: Socket, wire: WireError): void {
    const requestId = ids.id('request');
    const sent = socket.writable;
    if (sent) {
      const body = JSON.stringify(errorBody(wire, requestId));
      const headers = { ...errorHeaders(wire, requestId), 'content-length': Buffer.byteLength(body), connection: 'close' };
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
      socket.end([`HTTP/1.1 ${wire.status} ${STATUS_CODES[wire.status]}`, ...lines, '', body].join('\r\n'));
    } else {
      socket.destroy();
    }
    log.info({ op: 'no request', ok: false, status: wire.status, complete: sent, requestId, reason: wire.message }, 'request');
  }

  function refuse(socket: Socket, wire: WireError): void {
    const exchange = underWay.get(socket);
    if (exchange === undefined) {
      answerRaw(socket, wire);
      return;
    }
    if (exchange === 'answered early') {
      socket.destroy();
      return;
    }
    const { request, reply } = exchange;
    if (request.raw.complete) {
      reply.raw.once('close', () => answerRaw(socket, wire));
      return;
    }
    // The reader of the body needs an error, since no more of it comes; Node emits none after an answer.
    reply.raw.once('close', () => request.raw.destroy(new Error('the body broke off')));
    if (reply.sent || reply.raw.headersSent) socket.destroy();
    else sendError(reply.header('connection', 'close'), wire);
  }

  /** Requests that Node would answer by itself: they are passed on as ordinary requests, and `checkHead` refuses them. */
  function takeFrom(server: Server): void {
    server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => server.emit('request', request, response));
    server.on('connect', (_request: IncomingMessage, socket: Socket) => {
      socket.on('error', () => socket.destroy());
      answerRaw(socket, noSuchEndpoint('this server is no proxy: CONNECT does not exist here'));
    });
  }

  return {
    onClientError(error, socket) {
      if (GONE.has(error.code ?? '') || !socket.writable) socket.destroy();
      else refuse(socket, describe(error));
    },
    register(app, { limitMs, isUnlimited }) {
      takeFrom(app.server);
      app.addHook('onRequest', (request, reply, done) => {
        const { raw } = request;
        const { socket } = raw;
        const exchange = { request, reply };
        underWay.set(socket, exchange);
        let timer: NodeJS.Timeout | undefined;
        const late = () => {
          if (!raw.complete) refuse(socket, tooSlow());
        };
        if (hasBody(raw) && !isUnlimited(request)) timer = setTimeout(late, limitMs);
        reply.raw.once('close', () => {
          clearTimeout(timer);
          const isNewest = underWay.get(socket) === exchange;
          if (isNewest) underWay.delete(socket);
          if (!isNewest || raw.complete || socket.destroyed) return;
          underWay.set(socket, 'answered early');
          timer = setTimeout(() => socket.destroy(), limitMs);
        });
        raw.once('close', () => {
          clearTimeout(timer);
          if (underWay.get(socket) === 'answered early') underWay.delete(socket);
        });
        done();
      });
    },
  };
}
