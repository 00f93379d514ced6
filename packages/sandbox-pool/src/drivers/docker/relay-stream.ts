/**
 * The stream to a relay: one long-lived exec of `hand.mjs --relay` in the container, which joins its stdin and stdout with the socket of the daemon
 * inside. The engine packs the output in frames of 8 bytes of header; what the relay says on stderr is dropped.
 */
import { Duplex } from 'node:stream';
import { ensureError } from '@manyhands/base';
import { daemonCommand } from './container-options.ts';
import { CALL_DEADLINE_MS, type Engine } from './engine.ts';

const HEADER_BYTES = 8;
const STDOUT = 1;
/** The engine sends 32 KiB at a time. */
const FRAME_MAX_BYTES = 16 * 1024 * 1024;

/** Starts a relay; the stream ends when the relay, the container or the engine does. */
export async function openRelay(engine: Engine, containerId: string): Promise<Duplex> {
  const exec = await engine.call('make a relay', (docker, abortSignal) =>
    docker.getContainer(containerId).exec({
      ...{ AttachStdin: true, AttachStdout: true, AttachStderr: true, Tty: false, Cmd: daemonCommand('--relay'), abortSignal },
    }),
  );
  const raw = await engine.call('start a relay', (_, abortSignal) => exec.start({ hijack: true, stdin: true, Tty: false, abortSignal }), {
    deadlineMs: CALL_DEADLINE_MS,
  });
  return unpackOutput(raw);
}

/** A stream that reads what the process behind `raw` wrote to stdout and writes to its stdin. */
export function unpackOutput(raw: Duplex): Duplex {
  const plain = new Duplex({
    read() {
      raw.resume();
    },
    write(chunk: Buffer, _, done) {
      raw.write(chunk, (error) => done(error ?? null));
    },
    final(done) {
      raw.end(() => done());
    },
    destroy(error, done) {
      raw.destroy();
      done(error);
    },
  });
  const take = createUnpacker((bytes) => {
    if (!plain.push(bytes)) raw.pause();
  });
  raw.on('data', (chunk: Buffer) => {
    try {
      take(chunk);
    } catch (error) {
      plain.destroy(ensureError(error));
    }
  });
  raw.once('end', () => plain.destroy());
  raw.once('close', () => plain.destroy());
  raw.once('error', (error) => plain.destroy(error));
  return plain;
}

function createUnpacker(onOutput: (bytes: Buffer) => void): (chunk: Buffer) => void {
  let held: Buffer = Buffer.alloc(0);
  let kind = 0;
  let missing = 0;
  return (chunk) => {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    for (;;) {
      if (missing > 0) {
        const part = held.subarray(0, missing);
        if (part.length === 0) return;
        if (kind === STDOUT) onOutput(part);
        missing -= part.length;
        held = held.subarray(part.length);
        continue;
      }
      if (held.length < HEADER_BYTES) return;
      kind = held[0] ?? 0;
      missing = held.readUInt32BE(4);
      if (kind > 2 || missing > FRAME_MAX_BYTES) throw new Error('the engine broke its stream format');
      held = held.subarray(HEADER_BYTES);
    }
  };
}
