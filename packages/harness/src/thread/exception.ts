/**
 * What becomes of a turn that ended with an exception (I15). The log tells that it is tried again, and the lease is given back with a
 * back-off. Unavailable infrastructure (the blob store, a message server) is tried again without end, at most 30 s apart. Any other exception
 * counts: with EXCEPTIONS_MAX in a row, without progress between them, the turn is given up.
 */
import { AppError, ensureError, hasCode, type Logger } from '@manyhands/base';
import type { EventBody } from '@manyhands/contract';
import type { Acquired, AppendEntry, AppendResult, SessionWriter } from '@manyhands/session-log';
import { giveUp } from './go-idle.ts';
import { handled, type JournalEntry } from './journal.ts';
import { spanEnd } from './request-span.ts';
import { rescheduledEvents } from './status-events.ts';
import type { HarnessDeps, Turn } from './turn.ts';

/** Exceptions in a row that end a turn. */
export const EXCEPTIONS_MAX = 5;

const GIVEN_UP = `The turn was given up: it failed ${EXCEPTIONS_MAX} times in a row with an unexpected error. The service's log has the details.`;
const RETRYING = 'The turn was interrupted by an error of the service and is tried again.';

/** The words with which Redis refuses a command because of the state that it is in. */
const REDIS_AWAY = /^(LOADING|READONLY|MISCONF|OOM|BUSY|CLUSTERDOWN|MASTERDOWN|NOREPLICAS|TRYAGAIN|UNBLOCKED) /;

export type ReleaseHow = Parameters<SessionWriter['release']>[1];

/** Whether an error says that something the turn needs is away, rather than that the turn is wrong. */
export function isUnavailable(error: unknown): boolean {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof AppError && cause.retryable) return true;
    // A process that knows this format goes on.
    if (hasCode(cause, 'newer_format')) return true;
    // Errors of the system (the disk, a socket) name the call that failed.
    if ('syscall' in cause || 'errno' in cause) return true;
    if (cause.name === 'MaxRetriesPerRequestError' || cause.name === 'ClusterAllFailedError') return true;
    if (cause.name === 'ReplyError' && REDIS_AWAY.test(cause.message)) return true;
  }
  return false;
}

/**
 * Tells what there is to tell, and answers how the lease is to be given back; null when another worker has the thread. Never rejects: what
 * cannot be told now is told by the next worker. `turn` is null if it could not even begin.
 */
export async function afterException(
  deps: HarnessDeps,
  taken: Acquired,
  turn: Turn | null,
  error: unknown,
  log: Logger,
): Promise<ReleaseHow | null> {
  const how = isUnavailable(error) ? 'unavailable' : 'failed';
  // The end of the turn is in the log: only what comes behind it failed.
  if (turn?.journal.atRest) return 'done';
  // Nothing was asked for: a log that could not be folded is folded after another event.
  if (taken.thread.state.status === 'idle') return how === 'unavailable' ? how : 'done';
  const before = turn?.journal.progressed ? 0 : taken.thread.state.exceptions;
  try {
    if (how === 'unavailable' || before + 1 < EXCEPTIONS_MAX) await tellRetrying(deps, taken, turn);
    else if (await tellGivenUp(deps, taken, turn, log)) return 'done';
  } catch (failure) {
    if (hasCode(failure, 'fenced')) return null;
    log.warn({ err: ensureError(failure) }, 'an exception of a turn could not be told');
  }
  return how;
}

/** Once: a thread that is told rescheduling stays so until it runs again. */
async function tellRetrying({ writer, ids }: HarnessDeps, { lease, thread }: Acquired, turn: Turn | null): Promise<void> {
  const told = rescheduledEvents('unknown_error', RETRYING);
  if (turn) {
    if (!turn.context.rescheduled) await turn.journal.append([...openSpanEnd(turn), ...told]);
    return;
  }
  if (thread.state.status === 'rescheduling') return;
  const entries = told.flatMap((entry): AppendEntry[] => {
    if ('status' in entry) return [entry];
    return 'body' in entry ? [{ event: { id: ids.eventId(lease.sequence), body: entry.body } }] : [];
  });
  await writer.append(lease, 1, { entries });
}

/** A request that an exception cut is over. */
function openSpanEnd({ context }: Turn): JournalEntry[] {
  return context.openSpan === null ? [] : [spanEnd(context.openSpan, null)];
}

/** False if something came that this worker does not know: the next one gives the turn up. */
async function tellGivenUp(deps: HarnessDeps, taken: Acquired, turn: Turn | null, log: Logger): Promise<boolean> {
  if (turn) {
    try {
      await turn.journal.catchUp();
      await giveUp(turn, openSpanEnd(turn), 'unknown_error', GIVEN_UP);
      return true;
    } catch (failure) {
      if (hasCode(failure, 'fenced')) throw failure;
      log.warn({ err: ensureError(failure) }, 'a turn is given up without its context');
    }
  }
  return giveUpUnread(deps, taken, turn);
}

/** The same for a thread whose log cannot be read, or folded: what is queued is kept, and a new message may work. */
async function giveUpUnread(
  { writer, ids, metrics }: HarnessDeps,
  { lease, queued, thread }: Acquired,
  turn: Turn | null,
): Promise<boolean> {
  const body: EventBody = {
    type: 'session.error',
    error: { type: 'unknown_error', message: GIVEN_UP, retry_status: { type: 'exhausted' } },
  };
  const waiting = turn ? turn.inbox.waiting().map(({ position }) => position) : queued;
  const entries: AppendEntry[] = [
    { event: { id: ids.eventId(lease.sequence), body } },
    ...waiting.map((position) => ({ processed: position })),
  ];
  const end = (captured: number): Promise<AppendResult> =>
    writer.append(lease, (turn?.journal.appends ?? 0) + 1, {
      entries,
      idle: { stop: { type: 'retries_exhausted' }, known: Number.MAX_SAFE_INTEGER, captured },
      ...handled(turn?.inbox.sessionInterrupt() ?? thread.state.interrupt),
    });
  let result = await end(turn?.journal.sandboxUses ?? 0);
  if (result.outcome === 'uncaptured') result = await end(result.sandboxUses);
  if (result.outcome !== 'applied') return false;
  metrics.givenUp.add(1);
  return true;
}
