import { getEventListeners } from 'node:events';
import { until } from '@manyhands/test-kit';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { createScope, pause } from '../src/index.ts';

/** A promise and its ends. */
function gate<T = void>() {
  let open = (_value: T) => {};
  let fail = (_error: unknown) => {};
  const opened = new Promise<T>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  return { opened, open, fail };
}
const turns = async () => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};
const aborted = { name: 'AppError', code: 'aborted' };

describe('work in a scope', () => {
  test('gives its result or its error to the caller, and the scope stays open', async () => {
    const scope = createScope('root');
    expect(await scope.run(async (signal) => signal === scope.signal)).toBe(true);
    await expect(scope.run(() => Promise.reject(new Error('mine')))).rejects.toThrow('mine');
    await expect(
      scope.run(() => {
        throw new Error('thrown, not rejected');
      }),
    ).rejects.toThrow('thrown, not rejected');
    expect(scope.signal.aborted).toBe(false);
    await scope.close();
  });

  test('is told by its signal that the scope ends, and the scope waits for it, also if it fails', async () => {
    const scope = createScope('root');
    const reason = new Error('why');
    const [slow, failing] = [gate(), gate()];
    const works = [scope.run(() => slow.opened), scope.run(() => failing.opened)];
    const waiting = scope.run((signal) => pause(60_000, signal));
    let closed = false;
    const closing = scope.close(reason).then(() => {
      closed = true;
    });
    expect(scope.signal.reason).toBe(reason);
    await expect(waiting).rejects.toMatchObject(aborted);
    failing.fail(new Error('late'));
    await expect(works[1]).rejects.toThrow('late');
    await turns();
    expect(closed).toBe(false);
    slow.open();
    await closing;
    expect(closed).toBe(true);
  });

  test('is refused and not started once the end has begun, from wherever it comes', async () => {
    const scope = createScope('root');
    const child = scope.child('child');
    let started = 0;
    const start = async () => void started++;
    const refusals: Promise<unknown>[] = [];
    // The child's signal is the first that anybody hears of.
    child.signal.addEventListener('abort', () => refusals.push(scope.run(start), child.run(start), scope.all([start])));
    const closing = scope.close();
    refusals.push(scope.run(start), child.run(start), scope.child('late').run(start), scope.all([start]));
    await closing;
    refusals.push(scope.run(start));
    const outcomes = await Promise.allSettled(refusals);
    expect(outcomes).toHaveLength(8);
    for (const outcome of outcomes) expect(outcome).toMatchObject({ status: 'rejected', reason: aborted });
    expect(started).toBe(0);
  });
});

describe('the end of a scope', () => {
  test('reaches the whole tree at once, children before their parents, with the same reason', async () => {
    const root = createScope('root');
    const left = root.child('left');
    const leaf = left.child('leaf');
    const right = root.child('right');
    const heard: string[] = [];
    for (const [name, scope] of Object.entries({ root, left, leaf, right }))
      scope.signal.addEventListener('abort', () => heard.push(`${name}: ${String(scope.signal.reason)}`));
    const closing = root.close('because');
    expect(heard).toEqual(['leaf: because', 'left: because', 'right: because', 'root: because']);
    await closing;
  });

  test('waits for the children with all they have before it ends what they used', async () => {
    const root = createScope('root');
    const child = root.child('child');
    const work = gate();
    const order: string[] = [];
    root.defer(() => void order.push('the root lets go'));
    child.defer(() => void order.push('the child lets go'));
    void child.run(() => work.opened).then(() => order.push('the work has ended'));
    const closing = root.close();
    await turns();
    expect(order).toEqual(['the child lets go']);
    work.open();
    await closing;
    expect(order).toEqual(['the child lets go', 'the work has ended', 'the root lets go']);
  });

  test('of a child leaves the parent and its other children alone', async () => {
    const root = createScope('root');
    const [one, two] = [root.child('one'), root.child('two')];
    let ends = 0;
    one.defer(() => void ends++);
    await one.close();
    expect([one.signal.aborted, two.signal.aborted, root.signal.aborted]).toEqual([true, false, false]);
    expect(await two.run(async () => 'goes on')).toBe('goes on');
    await root.close();
    expect(ends).toBe(1);
  });

  test('is one, however often it is asked for', async () => {
    const scope = createScope('root');
    const end = gate();
    let ends = 0;
    let settled = 0;
    scope.defer(() => {
      ends++;
      return end.opened;
    });
    scope.signal.addEventListener('abort', () => void scope.close('from within'));
    const closings = [scope.close('first'), scope.close('second')];
    for (const closing of closings) void closing.then(() => settled++);
    await turns();
    expect(settled).toBe(0);
    end.open();
    await Promise.all([...closings, scope.close()]);
    expect([ends, settled, scope.signal.reason]).toEqual([1, 2, 'first']);
  });

  test('has a reason that can be told by its code if nobody gave one', async () => {
    const scope = createScope('root').child('part');
    await scope.close();
    expect(scope.signal.reason).toMatchObject({ ...aborted, message: 'root/part has ended' });
  });
});

describe('what was deferred', () => {
  test('runs last registered first, one after the other, and not at all if it was taken off', async () => {
    const scope = createScope('root');
    const order: string[] = [];
    const slow = gate();
    scope.defer(() => void order.push('first'));
    const undo = scope.defer(() => void order.push('never'));
    scope.defer(async () => {
      order.push('second begins');
      await slow.opened;
      order.push('second ends');
    });
    scope.defer(() => void order.push('third'));
    undo();
    undo();
    const closing = scope.close();
    await turns();
    expect(order).toEqual(['third', 'second begins']);
    slow.open();
    await closing;
    expect(order).toEqual(['third', 'second begins', 'second ends', 'first']);
  });

  test('runs although another one failed, whose error is told with the place it comes from', async () => {
    const told: string[] = [];
    const root = createScope('root', { onError: (error, name) => told.push(`${name}: ${String(error)}`) });
    const child = root.child('child');
    let ends = 0;
    child.defer(() => void ends++);
    child.defer(() => Promise.reject('rejected'));
    child.defer(() => {
      throw 'thrown';
    });
    await root.close();
    expect(ends).toBe(1);
    expect(told).toEqual(['root/child: thrown', 'root/child: rejected']);
  });

  test('does not make the end fail even if the one who is told fails', async () => {
    const warned: string[] = [];
    const onWarning = (warning: Error) => warned.push(warning.message);
    process.on('warning', onWarning);
    const scope = createScope('root', {
      onError: () => {
        throw new Error('told badly');
      },
    });
    scope.defer(() => Promise.reject(new Error('failed')));
    await scope.close();
    await until(() => warned.includes('told badly'), { what: 'the warning is heard' });
    process.off('warning', onWarning);
  });

  test('while the scope ends runs at once, and is waited for', async () => {
    const scope = createScope('root');
    const [acquired, released] = [gate(), gate()];
    const order: string[] = [];
    const work = scope.run(async () => {
      await acquired.opened;
      scope.defer(async () => {
        order.push('let go');
        await released.opened;
        order.push('gone');
      });
    });
    const closing = scope.close().then(() => order.push('closed'));
    acquired.open();
    await work;
    await turns();
    expect(order).toEqual(['let go']);
    released.open();
    await closing;
    expect(order).toEqual(['let go', 'gone', 'closed']);
  });
});

describe('a timer of a scope', () => {
  test('repeats, never overlaps itself, and is waited for at the end, after which it is still', async () => {
    const scope = createScope('root');
    let ticks = 0;
    let under = 0;
    let most = 0;
    let hold = gate();
    hold.open();
    scope.every(1, async () => {
      ticks++;
      most = Math.max(most, ++under);
      await hold.opened;
      under--;
    });
    await until(() => ticks > 3, { what: 'it repeats' });
    hold = gate();
    await until(() => under === 1, { what: 'a tick is held up' });
    const before = ticks;
    let other = 0;
    scope.every(1, () => void other++);
    await until(() => other > 3, { what: 'other timers go on' });
    expect(ticks).toBe(before);
    let closed = false;
    const closing = scope.close().then(() => {
      closed = true;
    });
    await turns();
    expect(closed).toBe(false);
    const others = other;
    hold.open();
    await closing;
    const witness = createScope('witness');
    let witnessed = 0;
    witness.every(1, () => void witnessed++);
    await until(() => witnessed > 5, { what: 'time goes by' });
    await witness.close();
    expect([ticks, other, most]).toEqual([before, others, 1]);
  });

  test('goes on after an error, which is told to its own listener or else to that of the scope', async () => {
    const told = { own: 0, scope: 0 };
    const scope = createScope('root', { onError: () => void told.scope++ });
    scope.every(
      1,
      () => Promise.reject(new Error('own')),
      () => void told.own++,
    );
    const undo = scope.every(1, () => {
      throw new Error('of the scope');
    });
    await until(() => told.own > 1 && told.scope > 1, { what: 'errors of both are told' });
    undo();
    const before = told.scope;
    const own = told.own;
    await until(() => told.own > own + 3, { what: 'the other timer goes on' });
    expect(told.scope).toBe(before);
    await scope.close();
    expect(scope.every(1, () => expect.unreachable())).toBeTypeOf('function');
  });
});

describe('a parent signal', () => {
  test('ends the scope with its reason', async () => {
    const parent = new AbortController();
    const scope = createScope('root', { parent: parent.signal });
    const waiting = scope.run((signal) => pause(60_000, signal));
    parent.abort('over');
    expect(scope.signal.reason).toBe('over');
    await expect(waiting).rejects.toMatchObject(aborted);
  });

  test('that has aborted before gives a scope in which nothing starts', async () => {
    const scope = createScope('root', { parent: AbortSignal.abort('before') });
    expect(scope.signal.reason).toBe('before');
    await expect(scope.run(async () => {})).rejects.toMatchObject(aborted);
  });

  test('keeps no listener of scopes that have ended, nor of their children, work and timers', async () => {
    const parent = new AbortController();
    for (let i = 0; i < 50; i++) {
      const scope = createScope('root', { parent: parent.signal });
      const child = scope.child('child');
      const work = child.run((signal) => pause(60_000, signal));
      child.every(60_000, () => {});
      expect(getEventListeners(parent.signal, 'abort')).toHaveLength(1);
      await Promise.all([scope.close(), expect(work).rejects.toMatchObject(aborted)]);
    }
    expect(getEventListeners(parent.signal, 'abort')).toEqual([]);
  });
});

describe('several works at once', () => {
  test('give their results in order, each of its own type', async () => {
    const scope = createScope('root');
    const results = await scope.all([async () => 1, async () => 'two']);
    expectTypeOf(results).toEqualTypeOf<[number, string]>();
    expect(results).toEqual([1, 'two']);
    const many: (() => Promise<number>)[] = [];
    expect(await scope.all(many)).toEqual([]);
    expect(scope.signal.aborted).toBe(false);
  });

  test('end together when one fails: the others are aborted, all are waited for, and the first error is told', async () => {
    const scope = createScope('root');
    const [first, slow] = [gate(), gate()];
    const heard: unknown[] = [];
    let settled = false;
    const all = scope
      .all([
        () => first.opened,
        async (signal) => {
          signal.addEventListener('abort', () => heard.push(signal.reason));
          await slow.opened;
          throw new Error('second');
        },
        (signal) => pause(60_000, signal),
      ])
      .finally(() => {
        settled = true;
      });
    const told = expect(all).rejects.toThrow('first');
    first.fail(new Error('first'));
    await until(() => heard.length === 1, { what: 'the others are aborted' });
    expect(heard).toEqual([expect.objectContaining({ message: 'first' })]);
    await turns();
    expect(settled).toBe(false);
    slow.open();
    await told;
    expect(scope.signal.aborted).toBe(false);
  });

  test('end with the scope that they were started in', async () => {
    const scope = createScope('root');
    const slow = gate();
    const all = scope.all([(signal) => pause(60_000, signal), () => slow.opened]);
    const told = expect(all).rejects.toMatchObject(aborted);
    let closed = false;
    const closing = scope.close().then(() => {
      closed = true;
    });
    await turns();
    expect(closed).toBe(false);
    slow.open();
    await Promise.all([closing, told]);
  });
});
