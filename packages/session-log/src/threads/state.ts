/**
 * The state of a session and of a thread: hashes of full words, read here as typed values. A format that is newer than this program knows is
 * refused; nothing is guessed at (I16).
 */
import { assertFormat } from '@manyhands/base';
import { type Budget, nanoUsdOf, type SessionStatus } from '@manyhands/contract';
import type { SandboxBinding, SessionRecord, SessionState, StoredSession, ThreadRecord, ThreadState, UsageTotals } from '../types.ts';

/** Of records, states, entries and checkpoints of the session log. */
export const LOG_FORMAT = 2;

/** `found` as a hash, an entry or a record has it; none is of 0.1.0. */
export function checkFormat(what: string, found: string | number | undefined): void {
  assertFormat(what, found === undefined || found === '' ? undefined : Number(found), LOG_FORMAT);
}

/** `budget_cap` is the budget as nano-dollars, for the scripts. */
export function budgetFields(budget: Budget | null): { budget: string; budget_cap: string } {
  return budget ? { budget: JSON.stringify(budget), budget_cap: String(nanoUsdOf(budget.max_list_cost)) } : { budget: '', budget_cap: '' };
}

type Hash = Readonly<Record<string, string>>;
const number = (hash: Hash, name: string): number | null => (hash[name] ? Number(hash[name]) : null);
const json = <T>(hash: Hash, name: string): T | null => (hash[name] ? (JSON.parse(hash[name]) as T) : null);

export function hashOf(flat: readonly string[]): Hash {
  const hash: Record<string, string> = {};
  for (let i = 0; i + 1 < flat.length; i += 2) hash[flat[i]!] = flat[i + 1]!;
  return hash;
}

function parseUsage(hash: Hash): UsageTotals {
  const count = (name: string) => number(hash, `usage_${name}`) ?? 0;
  return {
    input_tokens: count('input_tokens'),
    output_tokens: count('output_tokens'),
    cache_read_input_tokens: count('cache_read_input_tokens'),
    cache_creation_5m: count('cache_creation_5m'),
    cache_creation_1h: count('cache_creation_1h'),
    web_search_requests: count('web_search_requests'),
    web_fetch_requests: count('web_fetch_requests'),
    list_cost_nano: hash['unpriced'] ? null : count('list_cost'),
  };
}

export function parseSandbox(generation: string, id: string, pool: string, endedAt: string): SandboxBinding | null {
  if (generation === '' || generation === '0') return null;
  return {
    generation: Number(generation),
    sandbox_id: id === '' ? null : id,
    pool_id: pool === '' ? null : pool,
    ...(endedAt === '' ? {} : { ended_at: Number(endedAt) }),
  };
}

/** Null for a session that is deleted. */
export function parseState(hash: Hash): SessionState | null {
  const status = hash['status'];
  if (!status || status === 'deleted') return null;
  checkFormat('the state of a session', hash['format']);
  return {
    sequence: number(hash, 'sequence') ?? 0,
    status: status as SessionStatus,
    primary_thread_id: hash['primary'] ?? '',
    children: number(hash, 'children') ?? 0,
    title: json<string>(hash, 'title'),
    metadata: json<Record<string, string>>(hash, 'metadata') ?? {},
    created_at_ms: number(hash, 'created_at') ?? 0,
    updated_at_ms: number(hash, 'updated_at') ?? 0,
    archived_at_ms: number(hash, 'archived_at'),
    usage: parseUsage(hash),
    budget: json<Budget>(hash, 'budget'),
    active_ms: number(hash, 'active_ms') ?? 0,
    running_since_ms: number(hash, 'running_since'),
    sandbox: parseSandbox(
      hash['sandbox_generation'] ?? '',
      hash['sandbox_id'] ?? '',
      hash['sandbox_pool'] ?? '',
      hash['sandbox_ended_at'] ?? '',
    ),
    sandbox_uses: number(hash, 'sandbox_uses') ?? 0,
    revision: number(hash, 'revision') ?? 0,
  };
}

/** Null for a thread that is not there. */
export function parseThreadState(hash: Hash): ThreadState | null {
  const status = hash['status'];
  if (!status) return null;
  checkFormat('the state of a thread', hash['format']);
  return {
    head: number(hash, 'head') ?? 0,
    status: status as SessionStatus,
    parent_thread_id: hash['parent'] || null,
    created_at_ms: number(hash, 'created_at') ?? 0,
    updated_at_ms: number(hash, 'updated_at') ?? number(hash, 'created_at') ?? 0,
    archived_at_ms: number(hash, 'archived_at'),
    checkpoint: hash['checkpoint'] ? { blob: hash['checkpoint'], position: number(hash, 'checkpoint_position') ?? 0 } : null,
    uncheckpointed: number(hash, 'uncheckpointed') ?? 0,
    failures: number(hash, 'failures') ?? 0,
    exceptions: number(hash, 'exceptions') ?? 0,
    interrupt: number(hash, 'interrupt') ?? 0,
    usage: parseUsage(hash),
    active_ms: number(hash, 'active_ms') ?? 0,
    running_since_ms: number(hash, 'running_since'),
    traceparent: hash['traceparent'] || null,
  };
}

export function parseRecord<T extends SessionRecord | ThreadRecord>(what: string, text: string): T {
  const record = JSON.parse(text) as T & { format?: number };
  checkFormat(what, record.format);
  return record;
}

/** A session from its record, its state as a script returns it, and the time of that on Redis' clock. */
export function parseSession(record: string, state: Hash, files: StoredSession['files'], asOfMs: number): StoredSession | null {
  const parsed = parseState(state);
  return parsed ? { record: parseRecord('the record of a session', record), state: parsed, files, as_of_ms: asOfMs } : null;
}
