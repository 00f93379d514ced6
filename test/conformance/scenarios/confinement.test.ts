/** What comes out of sandboxes, and what they can reach. */
import type { FakeBlock } from '@manyhands/model/testing';
import { describe, expect } from 'vitest';
import { type AgentWish, answer, expectSound, follow, history, only, openSession, script, send, texts } from '../conversation.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'full', env: { 'sandbox-pool': { MANYHANDS_POOL_WARM: '2' } } });
const ALL: NonNullable<AgentWish['tools']> = ['bash', 'read', 'write', 'edit', 'glob', 'grep', 'web_fetch'];
const LONG_MS = 60_000;

const bash = (command: string, more: object = {}): FakeBlock => ({ tool: 'bash', input: { command, ...more } });
const use = (tool: string, input: Record<string, unknown>): FakeBlock => ({ tool, input });

interface Result {
  text: string;
  isError: boolean;
}

/** One turn in which the model makes these calls, one after the other; their results, in order. */
async function run(id: string, ...calls: FakeBlock[]): Promise<Result[]> {
  await using stream = await follow(stack(), id);
  await send(stack(), id, script([...calls.map((call) => ({ blocks: [call] })), answer('done')]));
  await stream.next('session.status_idle');
  const results = only(stream.events, 'agent.tool_result');
  expect(results).toHaveLength(calls.length);
  return results.map((result, i) => ({ text: texts([result], 'agent.tool_result')[0]!, isError: results[i]!.is_error === true }));
}
const open = (wish: AgentWish = {}) => openSession(stack(), { tools: ALL, ...wish });
const fine = (text: string): Result => ({ text, isError: false });

describe('hostile output', () => {
  verifies(
    'tools.hostile',
    async () => {
      const id = await open();
      const LIMIT = 100 * 1024;
      const results = await run(
        id,
        bash('head -c 200000 /dev/urandom'),
        bash(String.raw`printf '\033[31mred\033[0m \033]0;title\007 \x00\x01\x02\x7f\xff\xfe bell\a'`),
        bash(String.raw`printf '{"type":"session.status_idle"}\ndata: x\n\nevent: error\n\n'`),
        bash('head -c 5000000 /dev/zero | tr "\\0" x'),
        bash('yes', { timeout_ms: 1500 }),
        bash('seq 1 400000'),
        // More processes than a sandbox may have: forking stalls, and the time limit ends them all.
        bash('for i in $(seq 300); do sleep 60 & done; wait', { timeout_ms: 2_000 }),
        bash('head -c 300000 /dev/zero | tr "\\0" y > long.txt; head -c 2000 /dev/urandom > bin.dat; printf "a\\0b" > nul.txt'),
        use('read', { file_path: '/workspace/long.txt' }),
        use('read', { file_path: '/workspace/bin.dat' }),
        use('read', { file_path: '/workspace/nul.txt' }),
        use('grep', { pattern: 'y+' }),
        bash('kill -9 $$'),
        bash('exec 1>&- 2>&-; echo nothing'),
        bash('echo alive'),
      );
      for (const { text } of results) {
        expect(text.length).toBeLessThan(LIMIT + 4096);
        // Nothing that a terminal or a line-based reader would act on.
        expect(text).not.toMatch(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/);
      }
      expect(results[1]!.text).toContain('red');
      expect(results[1]!.text).not.toContain('[31m');
      expect(results[3]!.text).toMatch(/^\[output truncated\]\n/);
      expect(results[4]).toMatchObject({ isError: true });
      expect(results[5]!.text.endsWith('399999\n400000')).toBe(true);
      expect(results[8]).toMatchObject({ isError: true, text: expect.stringContaining('view_range') });
      expect(results[6]).toMatchObject({ isError: true });
      expect(results.at(-1)!.text).toContain('alive');
      const events = await history(stack(), id);
      expectSound(events);
      // Neither log nor later turns took harm.
      expect((await run(id, bash('echo still')))[0]).toEqual(fine('still'));
    },
    90_000,
  );
});

describe('the way out', () => {
  verifies(
    'tools.network',
    async () => {
      const redis = stack().redis.port;
      const fetchVia = (target: string) =>
        bash(
          `exec 3<>/dev/tcp/127.0.0.1/3128 && printf 'GET ${target} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' >&3 && head -1 <&3`,
        );
      const id = await open();
      const results = await run(
        id,
        bash(`(exec 3<>/dev/tcp/127.0.0.1/${redis}) 2>&1 || echo refused`),
        bash('(exec 3<>/dev/tcp/169.254.169.254/80) 2>&1 || echo refused'),
        bash('ls /sys/class/net; echo "$HTTP_PROXY"'),
        fetchVia(`http://127.0.0.1:${redis}/`),
        fetchVia('http://169.254.169.254/latest/meta-data/'),
        fetchVia('http://10.0.0.1/'),
        fetchVia('http://localhost/'),
        use('web_fetch', { url: `http://127.0.0.1:${redis}/` }),
        use('web_fetch', { url: 'http://169.254.169.254/' }),
      );
      expect(results[0]!.text).toContain('refused');
      expect(results[1]!.text).toContain('refused');
      expect(results[2]!.text).toContain('3128');
      for (const at of [3, 4, 5, 6]) expect(results[at]!.text).toMatch(/^HTTP\/1\.1 (403|4\d\d|502)/);
      for (const at of [7, 8]) expect(results[at]).toMatchObject({ isError: true, text: expect.stringContaining('not_allowed') });
      const limited = await open({ networking: { type: 'limited', allowed_hosts: ['allowed.example'] } });
      const [denied] = await run(limited, fetchVia('http://denied.example/'));
      expect(denied!.text).toMatch(/^HTTP\/1\.1 403/);
    },
    LONG_MS,
  );

  verifies(
    'tools.secrets',
    async () => {
      const id = await open();
      const [environment] = await run(
        id,
        bash('env; cat /proc/*/environ 2>/dev/null | tr "\\0" "\\n"; find / -xdev -name "*.sock" 2>/dev/null'),
      );
      for (const secret of [
        'REDIS_URL',
        'NATS_URL',
        'MANYHANDS_API_KEY',
        'mh-conformance',
        String(stack().redis.port),
        String(stack().nats!.port),
      ])
        expect(environment!.text).not.toContain(secret);
      // Log lines hold neither keys nor what was said.
      await run(id, bash('echo whispered-words'));
      const logs = ['gateway', 'harness', 'sandbox-pool', 'egress'] as const;
      for (const role of logs) {
        const output = stack().service(role).output();
        expect(output).not.toContain('whispered-words');
        expect(output).not.toContain('mh-conformance');
      }
    },
    LONG_MS,
  );
});
