/**
 * Deaths of this pool's containers, by the engine's events: one stream per pool process. A stream that ends says nothing (the engine may be
 * restarting, SANDBOX 5): it is opened again, and then the engine is asked which containers still run, since an event may have been missed.
 */
import { backoffMs, type Logger } from '@manyhands/base';
import type Docker from 'dockerode';
import { z } from 'zod';
import { POOL_LABEL } from './container-options.ts';
import { type Engine, isEngineAway } from './engine.ts';

const REOPEN_BASE_MS = 100;
const REOPEN_CAP_MS = 5_000;
/** An event is a few hundred bytes. */
const LINE_MAX_CHARACTERS = 1024 * 1024;

const ENDED_STATES = new Set(['exited', 'dead', 'removing']);

const EngineEvent = z.object({
  Action: z.string(),
  Actor: z.object({ ID: z.string(), Attributes: z.record(z.string(), z.string()).optional() }),
});

export interface ContainerEvents {
  /** Calls back once, with the reason, when the container has ended. Returns what ends the watch. */
  follow(containerId: string, onEnd: (reason: string) => void): () => void;
  close(): void;
}

export function createContainerEvents(engine: Engine, poolId: string, log: Logger): ContainerEvents {
  const followed = new Map<string, (reason: string) => void>();
  const filter = { label: [`${POOL_LABEL}=${poolId}`] };
  let stream: (NodeJS.ReadableStream & { destroy?: () => void }) | null = null;
  let opening = false;
  let closed = false;
  let failures = 0;
  let timer: NodeJS.Timeout | null = null;

  function tellEnd(containerId: string, reason: string): void {
    const onEnd = followed.get(containerId);
    followed.delete(containerId);
    onEnd?.(reason);
  }

  function take(line: string): void {
    const event = EngineEvent.safeParse(parse(line));
    if (!event.success) return;
    const { Action, Actor } = event.data;
    if (Action === 'oom') log.warn({ container_id: Actor.ID }, 'a sandbox ran out of memory; the kernel ended a process in it');
    if (Action === 'die') tellEnd(Actor.ID, `the container ended with status ${Actor.Attributes?.['exitCode'] ?? 'unknown'}`);
  }

  async function open(): Promise<void> {
    if (stream || opening || closed) return;
    opening = true;
    try {
      const fresh = await engine.call('listen to events', (docker, abortSignal) =>
        docker.getEvents({ filters: { ...filter, type: ['container'], event: ['die', 'oom'] }, abortSignal } as Docker.GetEventsOptions),
      );
      listen(fresh);
      await endMissing();
      failures = 0;
    } catch (error) {
      if (!isEngineAway(error)) log.warn({ err: error }, 'no events from the Docker engine');
      reopenLater();
    } finally {
      opening = false;
    }
    if (closed) drop();
  }

  function listen(fresh: NodeJS.ReadableStream): void {
    stream = fresh;
    let rest = '';
    const over = () => {
      if (stream !== fresh) return;
      drop();
      reopenLater();
    };
    fresh.setEncoding('utf8');
    fresh.on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = (lines.pop() ?? '').slice(-LINE_MAX_CHARACTERS);
      for (const line of lines) take(line);
    });
    fresh.once('end', over).once('close', over).on('error', over);
    // The events must not keep the process alive.
    (fresh as { socket?: { unref?: () => void } }).socket?.unref?.();
  }

  /** Ends the watches of containers that have ended or are gone; one that is only made has not started yet. */
  async function endMissing(): Promise<void> {
    const before = [...followed.keys()];
    if (before.length === 0) return;
    const there = await engine.call('list containers', (docker, abortSignal) =>
      docker.listContainers({ all: true, filters: filter, abortSignal }),
    );
    const living = new Set(there.flatMap(({ Id, State }) => (ENDED_STATES.has(State) ? [] : [Id])));
    for (const id of before) if (!living.has(id)) tellEnd(id, 'the container ended');
  }

  function drop(): void {
    const old = stream;
    stream = null;
    old?.destroy?.();
  }
  function reopenLater(): void {
    if (closed || timer) return;
    timer = setTimeout(
      () => {
        timer = null;
        void open();
      },
      backoffMs(failures++, REOPEN_BASE_MS, REOPEN_CAP_MS),
    );
    timer.unref();
  }

  return {
    follow(containerId, onEnd) {
      followed.set(containerId, onEnd);
      void open();
      return () => {
        if (followed.get(containerId) === onEnd) followed.delete(containerId);
      };
    },
    close() {
      closed = true;
      if (timer) clearTimeout(timer);
      followed.clear();
      drop();
    },
  };
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}
