/** pino, one root per service; messages are constants, facts are fields; keys, tokens and prompts are redacted (I7). */
import { type Logger as PinoLogger, pino } from 'pino';

export type Logger = PinoLogger;

/** An error of the Redis client holds the command that failed, arguments and all: a password is one of them (I7). */
function withoutCommand(error: Error): unknown {
  const { command: _command, ...facts } = pino.stdSerializers.err(error) as unknown as Record<string, unknown>;
  return facts;
}

export function createLogger(service: string, level: string): Logger {
  return pino({
    level,
    base: { service, pid: process.pid },
    redact: {
      paths: [
        'authorization',
        '*.authorization',
        'headers.authorization',
        '*.headers.authorization',
        'headers["x-api-key"]',
        '*.headers["x-api-key"]',
        'apiKey',
        '*.apiKey',
        'key',
        'api_key',
        '*.api_key',
        'password',
        '*.password',
        'content',
        '*.content',
        'input',
        '*.input',
      ],
      censor: '[redacted]',
    },
    serializers: { err: withoutCommand },
    timestamp: pino.stdTimeFunctions.isoTime,
  });
}
