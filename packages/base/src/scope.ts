/**
 * One tree of cancellation. Whatever is started for something that ends (a thread, a request, a process) hangs in its scope and ends with
 * it, whatever the reason: calls, requests, timers, subscriptions.
 *
 * - The end has two steps. First, at once and in one go, every signal of the tree aborts, children before their parent, all with the same
 *   reason; timers stop; from here on nothing new starts. Then, children first, what was deferred runs, last registered first, one after the
 *   other, and all work is waited for.
 * - So work has to end on its signal, or on what was deferred in its own scope; what it uses of an outer scope is there until it has ended.
 * - A scope that has ended is held by nobody: neither by its parent scope nor by a listener on the parent signal.
 * - Work must not wait for the end of its own scope: both would wait for ever. It may begin that end (`void scope.close()`).
 */
import { AppError } from './errors.ts';

export type ScopeWork<T> = (signal: AbortSignal) => Promise<T>;
/** What works answer, in their order. */
export type ScopeResults<W extends readonly ScopeWork<unknown>[]> = { -readonly [K in keyof W]: Awaited<ReturnType<W[K]>> };

export interface Scope {
  readonly signal: AbortSignal;
  /** Ends with this scope, or before it. Of a scope that has ended: one that has ended. */
  child(name: string): Scope;
  /**
   * Starts work that the scope waits for at its end. A rejection is the caller's: it is returned. After `close` has begun it refuses with
   * AppError `aborted` and starts nothing.
   */
  run<T>(work: ScopeWork<T>): Promise<T>;
  /**
   * Runs all in a scope of their own. On the first rejection it aborts the others, waits until every one has settled, and rejects with that
   * first error: nothing goes on behind the caller's back.
   */
  all<W extends readonly ScopeWork<unknown>[]>(works: readonly [...W]): Promise<ScopeResults<W>>;
  /**
   * Runs `end` when the scope closes; last registered first. Returns an undo that takes it off without running. After `close` has begun it
   * runs at once: what work acquired late is let go of too.
   */
  defer(end: () => void | Promise<void>): () => void;
  /**
   * A timer that ends with the scope, and the undo. A tick that comes due while the one before is under way is left out. An error of a tick
   * goes to `onError`, or to the scope's, and the timer goes on.
   */
  every(everyMs: number, tick: () => void | Promise<void>, onError?: (error: unknown) => void): () => void;
  /** Ends it (see above); resolves when all work has settled. Idempotent. Never rejects: errors of what was deferred go to `onError`. */
  close(reason?: unknown): Promise<void>;
}

export interface ScopeOptions {
  /** The scope ends when it aborts, with the same reason. */
  parent?: AbortSignal;
  /** Gets what nobody else gets: errors of deferred ends and of ticks; `name` is the path from the root, as in `turn/calls`. */
  onError?: (error: unknown, name: string) => void;
}

export function createScope(name: string, { parent, onError = warn }: ScopeOptions = {}): Scope {
  const { scope } = open(name, onError, () => {});
  if (parent?.aborted) void scope.close(parent.reason);
  // The listener goes when this scope begins to end, whatever the reason.
  else parent?.addEventListener('abort', () => void scope.close(parent.reason), { once: true, signal: scope.signal });
  return scope;
}

type Report = (error: unknown, name: string) => void;
interface Node {
  scope: Scope;
  /** The first step of the end, for this scope and all below it. */
  abort(reason: unknown): void;
}

function open(name: string, onError: Report, onEnded: (node: Node) => void): Node {
  const controller = new AbortController();
  const children = new Set<Node>();
  const works = new Set<Promise<void>>();
  const timers = new Set<NodeJS.Timeout>();
  const ends: { run: () => void | Promise<void> }[] = [];
  /** Set in the first step of the end, `closing` in the second: a parent takes them one after the other. */
  let ending: { reason: unknown } | null = null;
  let closing = false;
  let resolveClosed = () => {};
  const closed = new Promise<void>((resolve) => {
    resolveClosed = resolve;
  });

  function report(error: unknown, to: (error: unknown) => void = (given) => onError(given, name)): void {
    try {
      to(error);
    } catch (thrown) {
      warn(thrown, name);
    }
  }
  function track(work: Promise<unknown>): void {
    const settled: Promise<void> = work.then(nothing, nothing).then(() => void works.delete(settled));
    works.add(settled);
  }
  function refusal(): AppError {
    return new AppError('aborted', `${name} has ended`, { cause: ending?.reason });
  }

  function abort(reason: unknown): void {
    if (ending) return;
    ending = { reason };
    for (const timer of timers) clearInterval(timer);
    timers.clear();
    for (const child of children) child.abort(reason);
    controller.abort(reason);
  }
  async function finish(): Promise<void> {
    await Promise.all([...children].map(({ scope: child }) => child.close()));
    for (let end = ends.pop(); end; end = ends.pop()) {
      try {
        await end.run();
      } catch (error) {
        report(error);
      }
    }
    // Again, because work that is ending may have deferred something, which is then work too.
    while (works.size + children.size > 0) await Promise.all([...works, ...[...children].map(({ scope: child }) => child.close())]);
    onEnded(node);
  }

  const scope: Scope = {
    signal: controller.signal,
    child(childName) {
      const child = open(`${name}/${childName}`, onError, (gone) => void children.delete(gone));
      children.add(child);
      if (ending) void child.scope.close(ending.reason);
      return child.scope;
    },
    run(work) {
      if (ending) return Promise.reject(refusal());
      const running = (async () => work(controller.signal))();
      track(running);
      return running;
    },
    async all<W extends readonly ScopeWork<unknown>[]>(works: readonly [...W]) {
      if (ending) throw refusal();
      const group = scope.child('all');
      let first: { error: unknown } | null = null;
      const results = await Promise.all(
        works.map((work) =>
          group.run(work).catch((error: unknown) => {
            first ??= { error };
            void group.close(error);
          }),
        ),
      );
      await group.close();
      const failed = first as { error: unknown } | null;
      if (failed) throw failed.error;
      return results as ScopeResults<W>;
    },
    defer(run) {
      const end = { run };
      if (ending) {
        track((async () => run())().catch((error: unknown) => report(error)));
        return nothing;
      }
      ends.push(end);
      return () => {
        const at = ends.indexOf(end);
        if (at >= 0) ends.splice(at, 1);
      };
    },
    every(everyMs, tick, onTickError) {
      if (ending) return nothing;
      let running = false;
      const timer = setInterval(() => {
        if (running) return;
        running = true;
        const work = (async () => tick())()
          .catch((error: unknown) => report(error, onTickError))
          .then(() => {
            running = false;
          });
        track(work);
      }, everyMs);
      timers.add(timer);
      return () => {
        clearInterval(timer);
        timers.delete(timer);
      };
    },
    close(reason) {
      if (!closing) {
        closing = true;
        abort(reason ?? new AppError('aborted', `${name} has ended`));
        void finish().then(resolveClosed);
      }
      return closed;
    },
  };
  const node: Node = { scope, abort };
  return node;
}

function nothing(): void {}
/** Where nobody wants errors, they are at least seen. */
function warn(error: unknown, name: string): void {
  process.emitWarning(error instanceof Error ? error : new Error(`${name}: ${String(error)}`));
}
