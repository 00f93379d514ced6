/** The options of `up`, checked. Every refusal names the option and what it takes. */
import { resolve } from 'node:path';
import { UsageError } from '../usage-error.ts';
import { SANDBOX_OPTIONS, type SandboxOption } from './sandboxes/sandbox-choice.ts';
import { checkMetricsPorts } from './servers/metrics-ports.ts';

export interface UpOptions {
  port: number;
  host: string;
  /** Absolute. */
  dataDir: string;
  gateways: number;
  workers: number;
  sandbox: SandboxOption;
  rateLimits: 'off' | 'hosted';
  fsync: 'always' | 'everysec';
  /** Absolute; null for none. */
  readyFile: string | null;
  /** First of the loopback ports for metrics; null for none. */
  metricsPort: number | null;
  logLevel: LogLevel;
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const MAX_PROCESSES = 64;

/** As commander hands them over: text, or undefined where not given. */
export interface RawUpOptions {
  port: string;
  host: string;
  data: string;
  gateways: string;
  workers: string;
  sandbox: string;
  rateLimits: string;
  fsync: string;
  readyFile?: string | undefined;
  metricsPort?: string | undefined;
  logLevel: string;
}

export function parseUpOptions(raw: RawUpOptions, cwd: string): UpOptions {
  if (raw.host.trim() === '') throw new UsageError('--host: give an address of this machine such as 127.0.0.1.');
  if (raw.data.trim() === '') throw new UsageError('--data: give a directory.');
  const options = {
    port: wholeNumber('--port', raw.port, 0, 65_535),
    host: raw.host,
    dataDir: resolve(cwd, raw.data),
    gateways: wholeNumber('--gateways', raw.gateways, 1, MAX_PROCESSES),
    workers: wholeNumber('--workers', raw.workers, 1, MAX_PROCESSES),
    sandbox: oneOf('--sandbox', raw.sandbox, SANDBOX_OPTIONS),
    rateLimits: oneOf('--rate-limits', raw.rateLimits, ['off', 'hosted']),
    fsync: oneOf('--fsync', raw.fsync, ['always', 'everysec']),
    readyFile: raw.readyFile === undefined ? null : resolve(cwd, raw.readyFile),
    metricsPort: raw.metricsPort === undefined ? null : wholeNumber('--metrics-port', raw.metricsPort, 1, 65_535),
    logLevel: oneOf('--log-level', raw.logLevel, LOG_LEVELS),
  };
  if (options.metricsPort !== null) checkMetricsPorts(options.metricsPort, options, options.port);
  return options;
}

function wholeNumber(option: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max)
    throw new UsageError(`${option}: give a whole number from ${min} to ${max}, not ${JSON.stringify(text)}.`);
  return value;
}

function oneOf<const T extends string>(option: string, text: string, choices: readonly T[]): T {
  const choice = choices.find((each) => each === text);
  if (choice === undefined) throw new UsageError(`${option}: give one of ${choices.join(', ')}, not ${JSON.stringify(text)}.`);
  return choice;
}
