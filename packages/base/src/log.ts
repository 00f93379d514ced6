/** pino, one root per service; messages are constants, facts are fields; keys, tokens and prompts are redacted (I7). */
import { type Logger as PinoLogger, pino } from 'pino';

export type Logger = PinoLogger;

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
    timestamp: pino.stdTimeFunctions.isoTime,
  });
}
