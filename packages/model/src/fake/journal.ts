/** What the fake model was asked, newest last: a bounded memory that tests and measurements read over HTTP. It never holds headers. */
export interface JournalEntry {
  /** Counts all requests of this process, from 1. */
  n: number;
  session: string | null;
  path: string;
  /** Milliseconds since the epoch, with fractions. */
  received_at_ms: number;
  first_byte_at_ms: number | null;
  ended_at_ms: number | null;
  status: number | null;
  /** `answered`, `refused`, `closed` (the client went away) or the fault that was played. */
  outcome: string | null;
  source: 'script' | 'default' | 'summary' | null;
  step: number | null;
  /** Counts identical requests of one session, from 1; only for steps that fail on purpose. */
  attempt: number | null;
  /** The request as it came. */
  body: string;
}

const ENTRIES_MAX = 5_000;
const BODY_BYTES_MAX = 64 * 1024 * 1024;

export interface Journal {
  open(session: string | null, path: string, receivedAtMs: number, body: string): JournalEntry;
  /** The newest `limit` entries of a session, or of all. */
  read(session: string | null, limit: number): JournalEntry[];
  clear(): void;
}

export function createJournal(): Journal {
  let entries: JournalEntry[] = [];
  let bytes = 0;
  let n = 0;
  return {
    open(session, path, receivedAtMs, body) {
      n += 1;
      const blank = { first_byte_at_ms: null, ended_at_ms: null, status: null, outcome: null, source: null, step: null, attempt: null };
      const entry: JournalEntry = { n, session, path, received_at_ms: receivedAtMs, ...blank, body };
      entries.push(entry);
      bytes += body.length;
      let old = 0;
      while (entries.length - old > ENTRIES_MAX || (bytes > BODY_BYTES_MAX && old < entries.length - 1))
        bytes -= entries[old++]!.body.length;
      // Cut in batches: taking one off the front of a long array each time would cost more than the answer.
      if (old > 0) entries = entries.slice(old);
      return entry;
    },
    read: (session, limit) => (session === null ? entries : entries.filter((entry) => entry.session === session)).slice(-limit),
    clear() {
      entries = [];
      bytes = 0;
    },
  };
}
