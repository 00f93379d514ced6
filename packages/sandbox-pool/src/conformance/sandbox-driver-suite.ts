/**
 * The conformance suite of sandbox drivers: what a sandbox must be, whoever makes it (I11). A driver that does not pass is not used.
 *
 * The commands run by the tools of a real sandbox daemon; perl, which every Debian has, makes the system calls that no program makes.
 */

import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { randomText } from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RunningSandbox, SandboxDriver, SandboxLimits } from '../drivers/driver.ts';
import { sandboxDirectory } from '../files/sandbox-directory.ts';
import { restoreSnapshot, saveSnapshot } from '../files/workspace-snapshot.ts';
import { bash, startBash, waitFor } from './sandbox-shell.ts';

export interface DriverUnderTest {
  driver: SandboxDriver;
  /** Where the sandboxes' directories are. */
  poolRoot: string;
  /** An unrelated directory for the suite's own files. */
  scratch: string;
  /** A driver over the same directory, as the next pool process would make it. */
  reopen: () => SandboxDriver;
  /** Makes a sandbox in another process, starts the bash command under the key there, then ends that process with kill -9. */
  createAndCrash: (id: string, limits: SandboxLimits, key: string, command: string) => Promise<void>;
  /** Ends the sandbox from outside at one blow, as a crash of its first process would. */
  killFromOutside: (id: string) => Promise<void>;
  /** Paths of the host, or that a host usually has, which the sandbox's system must not have. */
  hidden: string[];
  /** Lines that tell of anything left of the sandbox on this host: processes, mounts, limit groups, containers. */
  traces: (id: string) => Promise<string[]>;
  dispose: () => Promise<void>;
}

const MIB = 1024 * 1024;
const LIMITS: SandboxLimits = { memoryBytes: 384 * MIB, pids: 128, fileBytes: 64 * MIB, tmpBytes: 64 * MIB };
/** Set in the process that makes the sandboxes; must be seen nowhere inside. */
const CANARY = 'canary-4f1c2a9e';

export function describeSandboxDriver(name: string, make: () => Promise<DriverUnderTest>): void {
  describe(`${name} sandboxes`, () => {
    let host: DriverUnderTest;
    let one: RunningSandbox;
    let other: RunningSandbox;
    const newId = () => `sbx_${randomText(20)}`;
    const create = (id = newId()) => host.driver.create(sandboxDirectory(host.poolRoot, id), LIMITS);

    beforeAll(async () => {
      process.env['MANYHANDS_CANARY'] = CANARY;
      host = await make();
      await host.driver.check();
      [one, other] = await Promise.all([create(), create()]);
    });
    afterAll(async () => {
      delete process.env['MANYHANDS_CANARY'];
      for (const sandbox of [one, other]) if (sandbox) await host.driver.destroy(sandbox.directory);
      await host?.driver.close();
      await host?.dispose();
    });

    describe('walls', () => {
      test('the only network interface is loopback, and no address outside can be reached', async () => {
        const { text } = await bash(
          one,
          'tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d " "; timeout 5 bash -c "</dev/tcp/192.0.2.1/80" 2>&1',
        );
        expect(text.split('\n')[0]).toBe('lo');
        expect(text).toMatch(/unreachable/i);
      });

      test('a server on the loopback of the host cannot be reached, by TCP or by an abstract socket', async () => {
        let connections = 0;
        const tcp = createServer(() => connections++).listen(0, '127.0.0.1');
        const abstract = createServer(() => connections++).listen('\0manyhands-conformance');
        try {
          await Promise.all(
            [tcp, abstract].map((server) => new Promise((resolve) => (server.listening ? resolve(0) : server.once('listening', resolve)))),
          );
          const { port } = tcp.address() as { port: number };
          const script = `const net=require("net");for(const to of [{port:${port},host:"127.0.0.1"},{path:"\\0manyhands-conformance"}])net.connect(to).on("connect",()=>console.log("reached")).on("error",e=>console.log(e.code))`;
          const { text } = await bash(one, `node -e '${script}'`);
          expect(text.trim().split('\n')).toEqual(['ECONNREFUSED', 'ECONNREFUSED']);
          expect(connections).toBe(0);
        } finally {
          tcp.close();
          abstract.close();
        }
      });

      test('nothing of the host is visible but what the driver is for', async () => {
        await writeFile(path.join(host.scratch, 'host-secret'), 'x');
        const paths = [...host.hidden, '/var/run/docker.sock', '/run/docker.sock', host.poolRoot, path.join(host.scratch, 'host-secret')];
        const { text } = await bash(one, `for p in ${paths.join(' ')}; do [ -e "$p" ] && echo "$p"; done; echo checked`);
        expect(text.trim()).toBe('checked');
      });

      test('no secret of any system can be read, and no device is there but the harmless ones', async () => {
        const secrets = ['/etc/shadow', '/etc/gshadow', '/root', '/proc/kcore', '/dev/mem', '/dev/kmsg', '/dev/sda', '/dev/vda'];
        const { text } = await bash(
          one,
          `for p in ${secrets.join(' ')}; do if [ -d "$p" ]; then ls -A "$p"; else head -c 1 "$p"; fi 2>/dev/null; done; echo; ls /dev`,
        );
        const [read, ...devices] = text.trimEnd().split('\n');
        expect(read).toBe('');
        const harmless = /^(null|zero|full|random|urandom|tty|console|core|fd|stdin|stdout|stderr|ptmx|pts|shm|mqueue)$/;
        expect(devices.filter((device) => !harmless.test(device))).toEqual([]);
      });

      test('no capability, no new privileges, a seccomp filter: for tools, for the daemon and for whatever it started', async () => {
        // The first process is the driver's own; everything after it is the daemon's.
        const { text } = await bash(one, 'cat /proc/self/status $(ls -d /proc/[0-9]* | grep -vx /proc/1 | sed s,$,/status,) 2>/dev/null');
        expect(text).toMatch(/^Name:\s*node/m);
        const values = (field: string) => new Set([...text.matchAll(new RegExp(`^${field}:\\s*(\\S+)$`, 'gm'))].map((match) => match[1]));
        for (const field of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
          expect(values(field), field).toEqual(new Set(['0000000000000000']));
        expect(values('NoNewPrivs')).toEqual(new Set(['1']));
        expect(values('Seccomp')).toEqual(new Set(['2']));
      });

      test('no tool runs as root; its user has a name, and a home that is the workspace', async () => {
        const { text } = await bash(one, 'id -u; id -un; cd; pwd; stat -c %U .');
        const [uid, ...rest] = text.trim().split('\n');
        expect(Number(uid)).toBeGreaterThan(0);
        expect(rest).toEqual(['agent', '/workspace', 'agent']);
      });

      test('namespaces, mounts, keyrings, bpf, performance events and foreign files are refused', async () => {
        // unshare(NEWUSER), unshare(NEWNS), mount, keyctl, add_key, bpf, perf_event_open, open_by_handle_at, kexec_load
        const calls =
          process.arch === 'arm64'
            ? [
                [97, 0x10000000],
                [97, 0x20000],
                [40, 0],
                [219, 0],
                [217, 0],
                [280, 0],
                [241, 0],
                [265, 0],
                [104, 0],
              ]
            : [
                [272, 0x10000000],
                [272, 0x20000],
                [165, 0],
                [250, 0],
                [248, 0],
                [321, 0],
                [298, 0],
                [304, 0],
                [246, 0],
              ];
        const script = calls
          .map(([number, argument]) => `print syscall(${number}, ${argument}, 0, 0, 0, 0) < 0 ? $!+0 : "allowed", "\\n";`)
          .join('');
        const { text } = await bash(one, `perl -e '${script}'; unshare -Ur true 2>&1 | tail -1`);
        const lines = text.trim().split('\n');
        expect(lines.slice(0, calls.length)).toEqual(calls.map(() => '1'));
        expect(text).toMatch(/Operation not permitted/);
      });

      test('the system is read-only; workspace, outputs, cache and /tmp are not', async () => {
        const closed = ['/', '/usr', '/etc', '/opt/manyhands', '/run', '/run/egress', '/mnt/session/uploads', '/dev'];
        const open = ['/workspace', '/mnt/session/outputs', '/tmp', '/dev/shm'];
        const { text } = await bash(
          one,
          `for d in ${[...closed, ...open].join(' ')}; do (echo x > $d/probe-file) 2>/dev/null && echo $d && rm $d/probe-file; done`,
        );
        expect(text.trim().split('\n')).toEqual(open);
        expect((await bash(one, '(echo 1 > /proc/sys/kernel/panic; echo b > /proc/sysrq-trigger) 2>&1')).text).toMatch(/denied|Read-only/);
      });

      test('the environment is cleared: nothing of the host is in it, in no process inside', async () => {
        const { text } = await bash(one, 'cat /proc/[0-9]*/environ 2>/dev/null | tr "\\0" "\\n"; env');
        expect(text).toContain('HOME=/workspace');
        expect(text).not.toContain(CANARY);
        expect(text).not.toMatch(/^(REDIS_URL|NATS_URL|ANTHROPIC_|VITEST)/m);
      });

      test('no descriptor of the host is open inside', async () => {
        const { text } = await bash(one, 'for p in /proc/[0-9]*/fd/*; do readlink "$p"; done 2>/dev/null | sort -u');
        const odd = text
          .split('\n')
          .filter(
            (target) =>
              !/^(socket:|pipe:|anon_inode:|\/dev\/|\/tmp\/|\/proc\/|\/workspace|\/run\/(manyhands|exchange)\/|$)/.test(target) &&
              !target.endsWith('/driver/log'),
          );
        expect(odd).toEqual([]);
      });

      test('another sandbox is invisible: its processes, its files, its user', async () => {
        await bash(other, 'echo of-the-other > /workspace/other-file; (sleep 54321 >/dev/null 2>&1 &)');
        const { text } = await bash(
          one,
          'cat /proc/[0-9]*/cmdline | tr "\\0" " "; ls -R /workspace /tmp /mnt /run /dev/shm 2>/dev/null; ls / /proc',
        );
        expect(text).not.toContain('54321');
        expect(text).not.toContain('other-file');
        expect((await bash(other, 'pgrep -f 54321 >/dev/null && cat other-file')).text.trim()).toBe('of-the-other');
        // Ending every process it can see, a sandbox ends itself only.
        await expect(bash(one, 'kill -9 -1')).rejects.toMatchObject({ code: 'unavailable' });
        await host.driver.destroy(one.directory);
        one = await create();
        expect((await bash(other, 'cat other-file')).text.trim()).toBe('of-the-other');
      });
    });

    describe('limits', () => {
      test('a command that takes more memory than allowed dies alone', async () => {
        const { text, isError } = await bash(one, `perl -e '$x = "a" x (700 << 20); print length($x)'; echo "ended $?"`);
        expect(text).not.toContain(String(700 << 20));
        expect(text, String(isError)).toMatch(/ended [1-9]|the shell ended/);
        expect((await bash(one, 'echo alive')).text.trim()).toBe('alive');
      });

      test('a fork bomb hits its own sandbox only, which answers again afterwards', async () => {
        await startBash(one, 'bomb', '(f(){ f|f& }; f) >/dev/null 2>&1; sleep 2');
        const start = performance.now();
        expect((await bash(other, 'for i in 1 2 3 4 5; do /bin/true || exit 1; done; echo fine')).text.trim()).toBe('fine');
        expect(performance.now() - start).toBeLessThan(20_000);
        await one.channel.request({ op: 'ping' }, 20_000);
        await one.channel.request({ op: 'cancel', key: 'bomb' }, 30_000);
        await host.driver.destroy(one.directory);
        expect(await host.traces(one.directory.id)).toEqual([]);
        one = await create();
      });

      test('a file cannot grow beyond the limit, nor /tmp beyond its size', async () => {
        const { text } = await bash(
          one,
          'head -c 80M /dev/zero > big; stat -c %s big; rm big; head -c 80M /dev/zero > /tmp/big 2>&1; echo "tmp $?"; rm /tmp/big',
        );
        expect(text).toContain(String(LIMITS.fileBytes));
        expect(text).toMatch(/tmp 1|tmp 153/);
      });

      test('open files are limited and nothing dumps core', async () => {
        expect((await bash(one, 'ulimit -Hn; ulimit -c')).text.trim().split('\n')).toEqual(['4096', '0']);
      });

      test('a flood of output is cut off and hurts nobody', async () => {
        const { text } = await bash(one, 'head -c 100M /dev/zero | tr "\\0" x; echo; echo the-end');
        expect(text.length).toBeLessThan(512 * 1024);
        expect(text).toContain('the-end');
      });
    });

    describe('life', () => {
      test('a call runs while others are asked for, and its key starts nothing twice', async () => {
        await startBash(one, 'slow', 'sleep 1; echo x >> /workspace/counter; echo slow-done');
        await startBash(one, 'slow', 'echo x >> /workspace/counter');
        await one.channel.request({ op: 'ping' }, 5_000);
        expect((await waitFor(one, 'slow')).text).toContain('slow-done');
        expect((await bash(one, 'wc -l < counter')).text.trim()).toBe('1');
      });

      test('two threads have a shell each, with its own directory and environment, and run side by side', async () => {
        const sandbox = await create();
        await bash(sandbox, 'mkfifo /workspace/gate; mkdir one; cd one; NAME=one; export SHARED=one', 'sthr_one');
        await bash(sandbox, 'cd /tmp; NAME=two', 'sthr_two');
        // Ends when the other thread has run something, so not before it runs beside this one.
        await startBash(sandbox, 'waits', 'read line < /workspace/gate; echo "$line $PWD $NAME $SHARED"', 'sthr_one');
        expect((await bash(sandbox, 'echo "$PWD $NAME $SHARED"', 'sthr_two')).text.trim()).toBe('/tmp two');
        await bash(sandbox, 'echo opened > /workspace/gate; kill -9 $$', 'sthr_two');
        expect((await waitFor(sandbox, 'waits')).text.trim()).toBe('opened /workspace/one one one');
        expect((await bash(sandbox, 'echo "[$NAME]"', 'sthr_two')).text.trim()).toBe('[]');
        await host.driver.destroy(sandbox.directory);
      });

      test('a sandbox that dies is noticed at once', async () => {
        const doomed = await create();
        await startBash(doomed, 'endless', 'sleep 600');
        const waiting = doomed.channel.request({ op: 'wait', key: 'endless', wait_ms: 30_000 }, 60_000);
        await Promise.all([host.killFromOutside(doomed.directory.id), expect(waiting).rejects.toMatchObject({ code: 'unavailable' })]);
        expect(doomed.channel.isOpen).toBe(false);
        await host.driver.destroy(doomed.directory);
      });

      test('a sandbox outlives kill -9 of the pool: the next one adopts it and collects the call', async () => {
        const id = newId();
        await host.createAndCrash(id, LIMITS, 'before', 'sleep 1; echo x >> /workspace/counter; echo survived');
        const next = host.reopen();
        const directory = sandboxDirectory(host.poolRoot, id);
        const adopted = await next.adopt(directory);
        expect(adopted).not.toBeNull();
        if (!adopted) return;
        expect((await waitFor(adopted, 'before')).text).toContain('survived');
        expect((await bash(adopted, 'wc -l < counter')).text.trim()).toBe('1');
        await next.destroy(directory);
        expect(await next.adopt(directory)).toBeNull();
        expect(await host.traces(id)).toEqual([]);
      });

      test('destroying leaves no process, mount, group or file, whatever went on inside, and may be repeated', async () => {
        const sandbox = await create();
        await bash(
          sandbox,
          `for i in 1 2 3; do setsid sleep 600 >/dev/null 2>&1 & done; mkdir closed; touch closed/file; chmod 000 closed; ln -s / root-link
           perl -e 'for (1..1500) { mkdir "deep-directory-name"; chdir "deep-directory-name" or die } open F, ">end"'; echo made`,
        );
        await writeFile(path.join(host.scratch, 'bystander'), 'x');
        await Promise.all([host.driver.destroy(sandbox.directory), sandbox.channel.closed]);
        await host.driver.destroy(sandbox.directory);
        expect(existsSync(sandbox.directory.root)).toBe(false);
        expect((await readdir(host.poolRoot)).filter((entry) => entry.includes(sandbox.directory.id))).toEqual([]);
        expect(await host.traces(sandbox.directory.id)).toEqual([]);
        expect(await host.driver.listStrays()).not.toContain(sandbox.directory.id);
        expect(readFileSync(path.join(host.scratch, 'bystander'), 'utf8')).toBe('x');
      });

      test('a sandbox that cannot be made leaves nothing', async () => {
        const id = newId();
        const directory = sandboxDirectory(host.poolRoot, id);
        // Less than a daemon needs.
        await expect(host.driver.create(directory, { ...LIMITS, memoryBytes: 8 * MIB })).rejects.toMatchObject({ name: 'AppError' });
        expect(existsSync(directory.root)).toBe(false);
        expect(await host.traces(id)).toEqual([]);
        expect(await host.driver.listStrays()).not.toContain(id);
      });

      test('a directory that was never finished is not adopted and can be destroyed', async () => {
        const directory = sandboxDirectory(host.poolRoot, newId());
        await mkdir(directory.driver, { recursive: true });
        expect(await host.driver.adopt(directory)).toBeNull();
        expect(await host.driver.isAlive(directory)).toBe(false);
        await host.driver.destroy(directory);
        expect(existsSync(directory.root)).toBe(false);
      });

      test('a recorded process that is no longer the same is neither adopted nor killed', async () => {
        const sandbox = await create();
        expect(await host.driver.isAlive(sandbox.directory)).toBe(true);
        await host.killFromOutside(sandbox.directory.id);
        await sandbox.channel.closed;
        expect(await host.driver.adopt(sandbox.directory)).toBeNull();
        await host.driver.destroy(sandbox.directory);
      });

      test('a workspace moves to another sandbox by snapshot and restore, with its outputs', async () => {
        const blobs = createDirectoryBlobStore(path.join(host.scratch, 'blobs'));
        const from = await create();
        await bash(
          from,
          'mkdir -p src; printf "hello\\n" > src/a.txt; chmod 755 src/a.txt; ln -s src/a.txt link; echo result > /mnt/session/outputs/r.txt',
        );
        await saveSnapshot(from, blobs, 'wrkspc_a/sesn_a/snapshots/workspace.tar.gz');
        const to = await create();
        await restoreSnapshot(to, blobs, 'wrkspc_a/sesn_a/snapshots/workspace.tar.gz');
        const { text } = await bash(
          to,
          'cat link /mnt/session/outputs/r.txt; stat -c "%a %U" src/a.txt; echo more >> src/a.txt; ls /run/exchange',
        );
        expect(text.trim().split('\n')).toEqual(['hello', 'result', '755 agent']);
        await Promise.all([from, to].map(({ directory }) => host.driver.destroy(directory)));
      });
    });
  });
}
