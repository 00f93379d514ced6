import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { silentLogger, type TemporaryDirectory, temporaryDirectory } from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CLONE, CLONE3, DENIED_CALLS, IOCTL, PERSONALITY, SOCKET } from '../src/drivers/bubblewrap/denied-syscalls.ts';
import {
  assembleFilter,
  type BpfInstruction,
  encodeFilter,
  type FilterArchitecture,
  VERDICT,
} from '../src/drivers/bubblewrap/seccomp-filter.ts';
import type { RunningSandbox, SandboxDriver } from '../src/drivers/driver.ts';
import { createBubblewrapDriver, sandboxDirectory } from '../src/index.ts';
import { bash } from '../src/testing.ts';
import { driverOptions } from './bubblewrap-host.ts';

const ARCHITECTURES: [FilterArchitecture, 0 | 1, number][] = [
  ['x64', 0, 0xc000003e],
  ['arm64', 1, 0xc00000b7],
];
const EPERM = VERDICT.errno(1);
const ENOSYS = VERDICT.errno(38);

/** Runs the program as the kernel would. */
function judge(program: BpfInstruction[], audit: number, call: number, args: number[] = []): number {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(call >>> 0, 0);
  data.writeUInt32LE(audit, 4);
  for (const [index, value] of args.entries()) data.writeUInt32LE(value >>> 0, 16 + 8 * index);
  let accumulator = 0;
  for (let at = 0; at < program.length; at++) {
    const { code, jumpTrue, jumpFalse, k } = program[at] as BpfInstruction;
    if (code === 0x06) return k;
    if (code === 0x20) accumulator = data.readUInt32LE(k);
    else {
      const holds = code === 0x15 ? accumulator === k : code === 0x35 ? accumulator >= k : (accumulator & k) !== 0;
      at += holds ? jumpTrue : jumpFalse;
    }
  }
  throw new Error('the program has no end');
}

describe.each(ARCHITECTURES)('the filter for %s', (architecture, column, audit) => {
  const program = assembleFilter(architecture);
  const ask = (call: number, args?: number[]) => judge(program, audit, call, args);

  test('refuses every listed call and allows read, write, execve and exit', () => {
    for (const [name, numbers] of Object.entries(DENIED_CALLS))
      if (numbers[column] !== null) expect(ask(numbers[column] as number), name).toBe(EPERM);
    for (const call of column === 0 ? [0, 1, 59, 60, 231, 9, 202] : [63, 64, 221, 93, 94, 222, 98]) expect(ask(call)).toBe(VERDICT.allow);
  });

  test('allows clone for threads and processes, not with any namespace flag, and has no clone3', () => {
    const [clone, clone3] = [CLONE[column], CLONE3[column]];
    expect(ask(clone, [0x003d0f00])).toBe(VERDICT.allow);
    expect(ask(clone, [17])).toBe(VERDICT.allow);
    for (const flag of [0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000])
      expect(ask(clone, [flag | 17])).toBe(EPERM);
    expect(ask(clone3)).toBe(ENOSYS);
  });

  test('looks at arguments: terminal injection, personalities, socket families', () => {
    expect(ask(IOCTL[column], [0, 0x5412])).toBe(EPERM);
    expect(ask(IOCTL[column], [0, 0x541c])).toBe(EPERM);
    expect(ask(IOCTL[column], [0, 0x5401])).toBe(VERDICT.allow);
    expect(ask(PERSONALITY[column], [0xffffffff])).toBe(VERDICT.allow);
    expect(ask(PERSONALITY[column], [0x0040000])).toBe(EPERM);
    for (const family of [1, 2, 10, 16]) expect(ask(SOCKET[column], [family, 1])).toBe(VERDICT.allow);
    for (const family of [17, 38, 40]) expect(ask(SOCKET[column], [family, 1])).toBe(VERDICT.errno(97));
  });

  test('kills calls of a foreign architecture', () => {
    for (const foreign of [0x40000003, 0x40000028, column === 0 ? 0xc00000b7 : 0xc000003e])
      expect(judge(program, foreign, 1)).toBe(VERDICT.killProcess);
  });

  test('has jumps that stay inside and eight bytes per instruction', () => {
    for (const [at, { jumpTrue, jumpFalse }] of program.entries())
      expect(at + 1 + Math.max(jumpTrue, jumpFalse)).toBeLessThan(program.length + 1);
    expect(encodeFilter(program)).toHaveLength(program.length * 8);
  });
});

test('x32 numbers do not exist', () => {
  expect(judge(assembleFilter('x64'), 0xc000003e, 0x40000000 + 59)).toBe(ENOSYS);
});

describe('in a sandbox', () => {
  let directory: TemporaryDirectory;
  let driver: SandboxDriver;
  let sandbox: RunningSandbox;
  const column = process.arch === 'arm64' ? 1 : 0;
  const MIB = 1024 * 1024;

  beforeAll(async () => {
    directory = await temporaryDirectory('seccomp');
    const poolRoot = path.join(directory.path, 'sandboxes');
    await mkdir(poolRoot, { mode: 0o700 });
    driver = createBubblewrapDriver({ ...(await driverOptions(poolRoot)), log: silentLogger });
    const limits = { memoryBytes: 384 * MIB, pids: 128, fileBytes: 64 * MIB, tmpBytes: 16 * MIB };
    sandbox = await driver.create(sandboxDirectory(poolRoot, 'sbx_seccomptest'), limits);
  });
  afterAll(async () => {
    if (sandbox) await driver.destroy(sandbox.directory);
    await driver?.close();
    await directory?.remove();
  });

  /** The errno of each call; 0 for one that went through. */
  async function errnos(calls: [number, ...number[]][]): Promise<number[]> {
    const script = calls.map((call) => `print syscall(${[...call, 0, 0, 0, 0].slice(0, 6).join(', ')}) < 0 ? $!+0 : 0, "\\n";`).join('\n');
    const { text } = await bash(sandbox, `cat > probe.pl <<'END'\n${script}\nEND\nperl probe.pl`);
    return text.trim().split('\n').map(Number);
  }

  test('every refused call answers EPERM', async () => {
    const numbers = Object.values(DENIED_CALLS).flatMap((each) => (each[column] === null ? [] : [[each[column]] as [number]]));
    expect(await errnos(numbers)).toEqual(numbers.map(() => 1));
  });

  test('a clone into a user namespace is refused, clone3 does not exist, vsock and raw packets have no family', async () => {
    expect(
      await errnos([
        [CLONE[column], 0x10000011],
        [CLONE3[column]],
        [SOCKET[column], 40, 1],
        [SOCKET[column], 17, 3],
        [PERSONALITY[column], 0x40000],
      ]),
    ).toEqual([1, 38, 97, 97, 1]);
  });

  test.runIf(process.arch === 'x64')('32-bit calls kill the process, x32 calls do not exist', async () => {
    expect(await errnos([[0x40000000 + 39]])).toEqual([38]);
    // int 0x80 with eax = 20 (getpid), then exit: built by hand, since no compiler can be expected.
    const program = `
      my $code = "\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\x31\\xff\\xb8\\x3c\\x00\\x00\\x00\\x0f\\x05";
      my $elf = "\\x7fELF\\x02\\x01\\x01" . "\\0" x 9 . pack("SSLQQQLSSSSSS", 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        . pack("LLQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 120 + length $code, 120 + length $code, 4096) . $code;
      open my $f, ">", "thirty-two" or die; binmode $f; print $f $elf; close $f; chmod 0755, "thirty-two"; my $r = system("./thirty-two"); print "signal ", $r & 127, "\\n";`;
    expect((await bash(sandbox, `cat > elf.pl <<'END'\n${program}\nEND\nperl elf.pl`)).text).toContain('signal 31');
  });

  test('threads, child processes, python and git work under the filter', async () => {
    const { text, isError } = await bash(
      sandbox,
      `node -e 'new (require("worker_threads").Worker)("1",{eval:true}).on("exit",c=>console.log("thread",c))' && (true | cat) && git init -q repo && echo fine`,
    );
    expect(text, String(isError)).toMatch(/thread 0[\s\S]*fine/);
  });
});
