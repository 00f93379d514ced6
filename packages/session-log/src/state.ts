/** The state hash: its fields as text and as typed state. */
import { type Budget, nanoUsdOf, type SessionStatus } from '@manyhands/contract';
import type { AppendBatch, SessionRecord, SessionState, StoredSession, UsageTotals } from './types.ts';
import { NO_USAGE } from './usage.ts';

/** `cap` is the budget as nano-dollars, for the scripts. */
export function budgetFields(budget: Budget | null): Record<string, string> {
  return budget ? { budget: JSON.stringify(budget), cap: String(nanoUsdOf(budget.max_list_cost)) } : { budget: '', cap: '' };
}

export function initialFields(title: string | null, metadata: Record<string, string>, budget: Budget | null, nowMs: number): string[] {
  const fields: Record<string, string | number> = {
    seq: 0,
    status: 'idle',
    epoch: 0,
    n: 0,
    res: '',
    pa: 0,
    rev: 0,
    title: JSON.stringify(title),
    metadata: JSON.stringify(metadata),
    updated_at: nowMs,
    archived_at: '',
    usage: JSON.stringify(NO_USAGE),
    ...budgetFields(budget),
    spent: 0,
    capped: '',
    active_ms: 0,
    running_since: '',
    checkpoint: '',
    sandbox: '',
    takeovers: 0,
    failures: 0,
    open: 0,
  };
  return Object.entries(fields).flatMap(([name, value]) => [name, String(value)]);
}

/** Null for a session that is deleted. */
export function parseState(hash: Record<string, string>): SessionState | null {
  if (!hash['status'] || hash['status'] === 'deleted') return null;
  const json = <T>(name: string): T | null => (hash[name] ? (JSON.parse(hash[name]) as T) : null);
  const number = (name: string): number | null => (hash[name] ? Number(hash[name]) : null);
  return {
    head: number('seq') ?? 0,
    status: hash['status'] as SessionStatus,
    epoch: number('epoch') ?? 0,
    title: json<string>('title'),
    metadata: json<Record<string, string>>('metadata') ?? {},
    updated_at_ms: number('updated_at') ?? 0,
    archived_at_ms: number('archived_at'),
    usage: json<UsageTotals>('usage') ?? NO_USAGE,
    budget: json<Budget>('budget'),
    active_ms: number('active_ms') ?? 0,
    running_since_ms: number('running_since'),
    checkpoint: json('checkpoint'),
    sandbox: json('sandbox'),
    takeovers: number('takeovers') ?? 0,
    failures: number('failures') ?? 0,
    revision: number('rev') ?? 0,
  };
}

/** The fields and values of an append's state change. */
export function changedFields(change: NonNullable<AppendBatch['state']>, nowMs: number): string[] {
  const fields: [string, string][] = [];
  if (change.status !== undefined) fields.push(['status', change.status]);
  if (change.usage !== undefined) fields.push(['usage', JSON.stringify(change.usage)]);
  if (change.spentNano !== undefined) fields.push(['spent', String(change.spentNano)]);
  if (change.capped !== undefined) fields.push(['capped', change.capped ? '1' : '']);
  if (change.activeMs !== undefined) fields.push(['active_ms', String(Math.round(change.activeMs))]);
  if (change.runningSinceMs !== undefined)
    fields.push(['running_since', change.runningSinceMs === null ? '' : String(change.runningSinceMs)]);
  if (change.checkpoint !== undefined) fields.push(['checkpoint', JSON.stringify(change.checkpoint)]);
  if (change.sandbox !== undefined) fields.push(['sandbox', change.sandbox === null ? '' : JSON.stringify(change.sandbox)]);
  if (change.takeovers !== undefined) fields.push(['takeovers', String(change.takeovers)]);
  if (change.failures !== undefined) fields.push(['failures', String(change.failures)]);
  if (fields.length > 0) fields.push(['updated_at', String(nowMs)]);
  return fields.flat();
}

/** A session from its record and its state hash as a script returns it, field after value. */
export function parseSession(record: string, flat: string[]): StoredSession | null {
  const hash: Record<string, string> = {};
  for (let i = 0; i + 1 < flat.length; i += 2) hash[flat[i]!] = flat[i + 1]!;
  const state = parseState(hash);
  return state ? { record: JSON.parse(record) as SessionRecord, state, files: [] } : null;
}
