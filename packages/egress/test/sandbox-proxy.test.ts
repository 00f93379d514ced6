/** The proxy with real upstream servers, which only the injected policy of these tests admits. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { until } from '@manyhands/test-kit';
import { describe, expect, test } from 'vitest';
import { createConnector, createReachPolicy } from '../src/index.ts';
import { get, raw, startProxy, startTcp, startUpstream, testConnector, testResolve } from './surroundings.ts';

const limited = (...allowed_hosts: string[]) =>
  ({ type: 'limited', allowed_hosts, allow_mcp_servers: false, allow_package_managers: false }) as const;

describe('plain requests', () => {
  test('method, path, headers, repeated headers and both bodies pass; hop-by-hop headers and credentials for the proxy do not', async () => {
    let seen: { url?: string | undefined; method?: string | undefined; rawHeaders?: string[]; body?: string } = {};
    await using upstream = await startUpstream((req, res) => {
      let body = '';
      req.on('data', (part) => {
        body += String(part);
      });
      req.on('end', () => {
        seen = { url: req.url, method: req.method, rawHeaders: req.rawHeaders, body };
        res.writeHead(201, [
          'set-cookie',
          'a=1',
          'set-cookie',
          'b=2',
          'keep-alive',
          'timeout=9',
          'x-secret-hop',
          'gone',
          'connection',
          'x-secret-hop',
        ]);
        res.end('made');
      });
    });
    await using proxy = await startProxy(testConnector([upstream.port]), limited('up.test'));
    const answer = await raw(
      proxy.port,
      `POST http://user:pw@up.test:${upstream.port}/a/b?c=d HTTP/1.1\r\nHost: evil.example\r\nX-Thing: 1\r\nX-Thing: 2\r\nProxy-Authorization: Basic x\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nX-Drop: me\r\nConnection: close, X-Drop\r\nContent-Length: 5\r\n\r\nhello`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 201 /);
    expect(answer).toMatch(/set-cookie: a=1\r\nset-cookie: b=2/);
    expect(answer).not.toMatch(/x-secret-hop|timeout=9/);
    expect(answer).toMatch(/made/);
    expect(seen).toMatchObject({ url: '/a/b?c=d', method: 'POST', body: 'hello' });
    expect(seen.rawHeaders).toEqual([
      'X-Thing',
      '1',
      'X-Thing',
      '2',
      'Content-Length',
      '5',
      'host',
      `up.test:${upstream.port}`,
      'connection',
      'close',
    ]);
    expect(proxy.lines).toEqual([
      {
        op: 'egress',
        sandboxId: 'sbx_one',
        sessionId: 'sesn_one',
        kind: 'request',
        host: 'up.test',
        port: upstream.port,
        decision: 'allowed',
      },
    ]);
  });

  test('a chunked body arrives whole, also with GET, and a keep-alive connection serves several hosts', async () => {
    const bodies: string[] = [];
    await using upstream = await startUpstream((req, res) => {
      let body = '';
      req.on('data', (part) => {
        body += String(part);
      });
      req.on('end', () => {
        bodies.push(`${req.method} ${req.headers.host} ${body}`);
        res.end('ok');
      });
    });
    await using proxy = await startProxy(testConnector([upstream.port]));
    const chunked = (method: string, host: string, last: boolean) =>
      `${method} http://${host}:${upstream.port}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n${last ? 'Connection: close\r\n' : ''}\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n`;
    const answer = await raw(proxy.port, chunked('GET', 'a.test', false) + chunked('PUT', 'b.test', true));
    expect(answer.match(/HTTP\/1\.1 200/g)).toHaveLength(2);
    expect(bodies).toEqual([`GET a.test:${upstream.port} abcdefg`, `PUT b.test:${upstream.port} abcdefg`]);
  });

  test('what could be read in two ways is refused with 400 and reaches no upstream', async () => {
    let requests = 0;
    await using upstream = await startUpstream((_req, res) => {
      requests += 1;
      res.end('ok');
    });
    await using proxy = await startProxy(testConnector([upstream.port]));
    const url = `http://a.test:${upstream.port}/`;
    for (const request of [
      `POST ${url} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      `POST ${url} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello`,
      `POST ${url} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`,
      `GET ${url} HTTP/1.1\r\nHost: x\r\nX-A : b\r\n\r\n`,
      `GET ${url} HTTP/1.1\r\nHost: x\r\n${'X-Big: '}${'y'.repeat(60_000)}\r\n\r\n`,
    ])
      expect((await raw(proxy.port, request)).split('\r\n')[0]).toMatch(/^HTTP\/1\.1 4\d\d/);
    for (const url of ['/etc/passwd', 'https://a.test/', '*', 'ftp://a.test/']) {
      const answer = await raw(proxy.port, get(url));
      expect(answer).toMatch(/^HTTP\/1\.1 400 [\s\S]*x-manyhands-egress: invalid/);
    }
    expect(requests).toBe(0);
  });

  test('an answer that breaks off never looks complete, and an upstream that says nothing sensible is a 502 of the proxy', async () => {
    await using breaking = await startTcp((socket) =>
      socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf', () => socket.destroy())),
    );
    await using nonsense = await startTcp((socket) => socket.once('data', () => socket.end('SSH-2.0-secret-banner\r\n')));
    await using proxy = await startProxy(testConnector([breaking.port, nonsense.port]));
    const half = await raw(proxy.port, get(`http://a.test:${breaking.port}/`));
    expect(half).toContain('Content-Length: 100');
    expect(half.endsWith('half')).toBe(true);
    const banner = await raw(proxy.port, get(`http://a.test:${nonsense.port}/`));
    expect(banner).toMatch(/^HTTP\/1\.1 502 [\s\S]*x-manyhands-egress: unreachable/);
    expect(banner).not.toContain('secret-banner');
  });

  test('a slow reader holds the upstream back instead of filling memory', async () => {
    let written = 0;
    await using upstream = await startUpstream((_req, res) => {
      const block = Buffer.alloc(1024 * 1024);
      const more = () => {
        let room = true;
        for (; written < 64 && room; written++) room = res.write(block);
        if (written < 64) res.once('drain', more);
      };
      more();
    });
    await using proxy = await startProxy(testConnector([upstream.port]));
    const client = connect({ port: proxy.port, host: '127.0.0.1' });
    client.write(get(`http://a.test:${upstream.port}/`));
    client.once('data', () => client.pause());
    let before = -1;
    // It stands still: the same count at two looks a while apart.
    await until(
      () => {
        const still = written === before && written > 0;
        before = written;
        return still;
      },
      { what: 'the upstream is held back', intervalMs: 200 },
    );
    expect(written).toBeLessThan(48);
    client.destroy();
  });
});

describe('tunnels', () => {
  test('bytes pass both ways, those right behind CONNECT included, and a half-closed side may still read', async () => {
    await using echo = await startTcp((socket) => {
      let text = '';
      socket.on('data', (part) => {
        text += String(part);
      });
      socket.on('end', () => socket.end(`you said: ${text}`));
    });
    await using proxy = await startProxy(testConnector([echo.port]));
    const socket = connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true });
    let answer = '';
    socket.on('data', (part) => {
      answer += String(part);
    });
    socket.write(`CONNECT a.test:${echo.port} HTTP/1.1\r\nHost: a.test\r\n\r\nearly `);
    await until(() => answer.includes('established'), { what: 'the tunnel stands' });
    socket.end('late');
    await once(socket, 'close');
    expect(answer).toBe('HTTP/1.1 200 Connection established\r\n\r\nyou said: early late');
  });

  test('when one side goes, the other goes too', async () => {
    const upstreamClosed: Promise<unknown>[] = [];
    await using upstream = await startTcp((socket) => void upstreamClosed.push(once(socket.resume(), 'end')));
    await using proxy = await startProxy(testConnector([upstream.port]));
    const socket = connect({ port: proxy.port, host: '127.0.0.1' });
    socket.write(`CONNECT a.test:${upstream.port} HTTP/1.1\r\n\r\n`);
    await once(socket, 'data');
    socket.resetAndDestroy();
    await until(() => upstreamClosed.length === 1, { what: 'the upstream saw the tunnel' });
    await upstreamClosed[0];
  });

  test('an idle tunnel is closed', async () => {
    await using upstream = await startTcp(() => {});
    await using proxy = await startProxy(testConnector([upstream.port]), undefined, { idleTimeoutMs: 200 });
    expect(await raw(proxy.port, `CONNECT a.test:${upstream.port} HTTP/1.1\r\n\r\n`)).toContain('established');
  });

  test('a client that goes away while the proxy still connects leaves nothing behind', async () => {
    let asked = 0;
    let answer: (addresses: string[]) => void = () => {};
    const connector = testConnector([], () => {
      asked += 1;
      return new Promise((resolve) => {
        answer = resolve;
      });
    });
    await using upstream = await startTcp(() => {
      throw new Error('nobody may come');
    });
    await using proxy = await startProxy(connector);
    const socket = connect({ port: proxy.port, host: '127.0.0.1' });
    socket.write(`CONNECT slow.test:443 HTTP/1.1\r\n\r\n`);
    await until(() => asked === 1, { what: 'the name is being resolved' });
    socket.destroy();
    answer(['127.0.0.1']);
    await until(() => proxy.lines.length === 1, { what: 'the request ended' });
    expect(proxy.lines[0]).toMatchObject({ decision: 'unreachable' });
    expect(upstream.port).toBeGreaterThan(0);
  });
});

describe('refusals', () => {
  const real = createConnector({
    policy: createReachPolicy(),
    resolve: async (name) => (name === 'rebind.test' ? ['93.184.216.34', '127.0.0.1'] : testResolve(name)),
  });

  test.each([
    'localhost.test',
    'rebind.test',
    'private.test',
    '127.0.0.1',
    '2130706433',
    '0177.0.0.1',
    '0x7f.1',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '169.254.169.254',
    '[fd00:ec2::254]',
    '0.0.0.0',
  ])('unrestricted networking does not lead to %s, by request or tunnel', async (host) => {
    await using proxy = await startProxy(real);
    for (const request of [get(`http://${host}/latest/meta-data`), `CONNECT ${host}:443 HTTP/1.1\r\n\r\n`]) {
      const answer = await raw(proxy.port, request);
      expect(answer).toMatch(/^HTTP\/1\.1 403 [\s\S]*x-manyhands-egress: blocked[\s\S]*Blocked by the Manyhands egress proxy/);
      expect(answer).toContain('No environment setting allows this.');
    }
    expect(proxy.lines.map((line) => line['decision'])).toEqual(['blocked', 'blocked']);
    expect(JSON.stringify(proxy.lines)).not.toContain('meta-data');
  });

  test('with the real policy a server on this machine stays out of reach, while it is up', async () => {
    let requests = 0;
    await using upstream = await startUpstream((_req, res) => {
      requests += 1;
      res.end();
    });
    const policy = { ...createReachPolicy(), ports: new Set([upstream.port]) };
    await using proxy = await startProxy(createConnector({ policy, resolve: testResolve }));
    for (const host of ['127.0.0.1', 'me.test', '[::1]', '[::ffff:127.0.0.1]', '0'])
      expect(await raw(proxy.port, get(`http://${host}:${upstream.port}/`))).toMatch(/^HTTP\/1\.1 403/);
    expect(requests).toBe(0);
  });

  test('a name is resolved once: the connection goes to the checked answer', async () => {
    await using upstream = await startUpstream((_req, res) => res.end('first answer'));
    let asked = 0;
    const connector = testConnector([upstream.port], async () => {
      asked += 1;
      return asked === 1 ? ['127.0.0.1'] : ['10.0.0.1'];
    });
    await using proxy = await startProxy(connector);
    expect(await raw(proxy.port, get(`http://a.test:${upstream.port}/`))).toContain('first answer');
    expect(asked).toBe(1);
  });

  test('limited networking refuses other hosts and says what to set; ports other than the web are closed; unknown names are a 502', async () => {
    await using proxy = await startProxy(testConnector([]), limited('a.test', '*.w.test', 'unknown.example'));
    const other = await raw(proxy.port, get('http://b.test/'));
    expect(other).toMatch(/^HTTP\/1\.1 403/);
    expect(other).toContain('Add "b.test" to config.networking.allowed_hosts');
    expect(await raw(proxy.port, 'CONNECT w.test:443 HTTP/1.1\r\n\r\n')).toMatch(/^HTTP\/1\.1 403/);
    expect(await raw(proxy.port, 'CONNECT 127.0.0.1:443 HTTP/1.1\r\n\r\n')).toContain('bare addresses');
    expect(await raw(proxy.port, 'CONNECT a.test:22 HTTP/1.1\r\n\r\n')).toContain('port 22 is closed');
    expect(await raw(proxy.port, get('http://unknown.example/'))).toMatch(/^HTTP\/1\.1 502 [\s\S]*x-manyhands-egress: unreachable/);
    expect(await raw(proxy.port, 'CONNECT a.test HTTP/1.1\r\n\r\n')).toMatch(/^HTTP\/1\.1 400/);
  });

  test('connections beyond the limit of a sandbox are dropped, and those within it go on', async () => {
    await using upstream = await startTcp((socket) => socket.pipe(socket));
    await using proxy = await startProxy(testConnector([upstream.port]), undefined, { maxConnections: 2 });
    const open = await Promise.all(
      [1, 2].map(async () => {
        const socket = connect({ port: proxy.port, host: '127.0.0.1' });
        socket.write(`CONNECT a.test:${upstream.port} HTTP/1.1\r\n\r\n`);
        await once(socket, 'data');
        return socket;
      }),
    );
    expect(await raw(proxy.port, `CONNECT a.test:${upstream.port} HTTP/1.1\r\n\r\n`)).toBe('');
    open[0]!.write('still here');
    expect(String((await once(open[0]!, 'data'))[0])).toBe('still here');
    for (const socket of open) socket.destroy();
  });

  test('slow headers and garbage end the connection without harm to others', async () => {
    await using upstream = await startUpstream((_req, res) => res.end('fine'));
    await using proxy = await startProxy(testConnector([upstream.port]), undefined, { headersTimeoutMs: 300 });
    await raw(proxy.port, 'GET http://a.test/ HTTP/1.1\r\nX-Slow: ');
    await raw(proxy.port, '\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003');
    expect(await raw(proxy.port, get(`http://a.test:${upstream.port}/`))).toContain('fine');
  });
});
