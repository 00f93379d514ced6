/**
 * Records as text in Redis. Each names its format, which only `writeRecord` and `readRecord` see (and claim-record.lua, which reads records, too).
 */
import { AppError, assertFormat } from '@manyhands/base';

/** The format of all records of this package. Those of 0.1.0 name none, and are the same but for that. */
export const RECORD_FORMAT = 1;
/** More failed swaps in a row than this have another cause than contention. */
export const SWAP_ATTEMPTS = 200;
export const MS_DIGITS = 15;

export interface StoredRecord {
  id: string;
  created_at: string;
}

/** The text of a record as it is stored. */
export function writeRecord(record: object): string {
  return JSON.stringify({ ...record, format: RECORD_FORMAT });
}
/** The record of a stored text; throws AppError `newer_format`, naming `what`, for one that a newer version wrote. */
export function readRecord<T extends object>(text: string, what: string): T {
  const { format, ...record } = JSON.parse(text) as { format?: unknown };
  assertFormat(what, format, RECORD_FORMAT);
  return record as T;
}

export function padded(ms: number): string {
  return String(Math.max(0, Math.floor(ms))).padStart(MS_DIGITS, '0');
}
/** The member of the indexes for a record. */
export function memberOf(record: StoredRecord): string {
  return `${padded(Date.parse(record.created_at))}:${record.id}`;
}

export function contended(): AppError {
  return new AppError('unavailable', 'too many concurrent changes of one record');
}
