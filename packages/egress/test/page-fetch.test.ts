/** web_fetch with real upstream servers, which only the injected policy of these tests admits. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { systemClock } from '@manyhands/base';
import { DOCUMENT_MAX_BYTES, type FetchReply, type FetchRequest } from '@manyhands/contract';
import { silentLogger } from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Connector, createConnector, createPageFetch, createReachPolicy, type HeldBodies } from '../src/index.ts';
import { pageText } from '../src/web/page-text.ts';
import { startUpstream, testConnector, testMetrics, testResolve, type Upstream } from './surroundings.ts';

let upstream: Upstream;
const routes: Record<string, (req: IncomingMessage, res: ServerResponse) => void> = {};
beforeAll(async () => {
  upstream = await startUpstream((req, res) =>
    (routes[req.url ?? ''] ?? ((_req, out) => out.writeHead(404, { 'content-type': 'text/plain' }).end('nothing here')))(req, res),
  );
});
afterAll(() => upstream[Symbol.asyncDispose]());

interface FetchOptions {
  timeoutMs?: number;
  maxReplyBytes?: number;
  rules?: Partial<FetchRequest>;
}
/** Documents that were held, by subject; some find no room. */
const held = new Map<string, Buffer>();
const bodies: HeldBodies = {
  hold(bytes) {
    if (bytes.includes('no room')) return null;
    const subject = `egress.body.document-${held.size}`;
    held.set(subject, bytes);
    return subject;
  },
  close: async () => {},
};

function fetchWith(
  connector: Connector,
  url: string,
  max_bytes = 100_000,
  { rules = {}, ...options }: FetchOptions = {},
): Promise<FetchReply> {
  const pages = createPageFetch({
    connector,
    log: silentLogger,
    clock: systemClock,
    metrics: testMetrics(),
    bodies,
    maxReplyBytes: 1024 * 1024,
    ...options,
  });
  return pages.fetch({ session_id: 'sesn_one', url, max_bytes, ...rules });
}
const page = (path: string, max_bytes?: number, options?: FetchOptions) =>
  fetchWith(testConnector([upstream.port]), `http://site.test:${upstream.port}${path}`, max_bytes, options);
const serve = (path: string, headers: Record<string, string>, body: string | Buffer, status = 200) => {
  routes[path] = (_req, res) => res.writeHead(status, headers).end(body);
};

describe('what is fetched', () => {
  test('text comes as it is, with its final address; an error page is a page', async () => {
    let seen: IncomingMessage['headers'] = {};
    routes['/plain?x=1'] = (req, res) => {
      seen = req.headers;
      res.writeHead(200, { 'content-type': 'text/plain' }).end('a\u0000b\u0007\r\nc\td');
    };
    expect(await page('/plain?x=1#part')).toEqual({
      ok: true,
      status: 200,
      final_url: `http://site.test:${upstream.port}/plain?x=1#part`,
      content_type: 'text/plain',
      body: 'ab\nc\td',
      truncated: false,
    });
    expect(Object.keys(seen)).not.toContain('cookie');
    expect(Object.keys(seen)).not.toContain('authorization');
    expect(await page('/missing')).toMatchObject({ ok: true, status: 404, body: 'nothing here' });
  });

  test('character sets are honoured, and bytes that are not UTF-8 are read as Latin-1', async () => {
    serve('/latin', { 'content-type': 'text/plain; charset=ISO-8859-1' }, Buffer.from('Grüße', 'latin1'));
    serve('/undeclared', { 'content-type': 'text/plain' }, Buffer.from('Grüße', 'latin1'));
    serve('/nonsense', { 'content-type': 'text/plain; charset=klingon' }, 'Grüße 世界');
    serve('/meta', { 'content-type': 'text/html' }, Buffer.from('<meta charset="windows-1251"><p>\u00cf\u00f0\u00e8', 'latin1'));
    serve('/bom', { 'content-type': 'text/plain' }, '\ufeffhello');
    const bodies = await Promise.all(['/latin', '/undeclared', '/nonsense', '/meta', '/bom'].map((path) => page(path)));
    expect(bodies.map((reply) => reply.ok && reply.body)).toEqual(['Grüße', 'Grüße', 'Grüße 世界', 'При', 'hello']);
  });

  test('compressed pages are unpacked, an archive bomb no further than asked, an unknown encoding is refused', async () => {
    const text = 'compressed text '.repeat(20);
    serve('/gzip', { 'content-type': 'text/plain', 'content-encoding': 'gzip' }, gzipSync(text));
    serve('/deflate', { 'content-type': 'text/plain', 'content-encoding': 'deflate' }, deflateSync(text));
    serve('/br', { 'content-type': 'text/plain', 'content-encoding': 'br' }, brotliCompressSync(text));
    serve('/bomb', { 'content-type': 'text/plain', 'content-encoding': 'gzip' }, gzipSync(Buffer.alloc(50 * 1024 * 1024, 'x')));
    serve('/odd', { 'content-type': 'text/plain', 'content-encoding': 'lzma' }, text);
    serve('/broken', { 'content-type': 'text/plain', 'content-encoding': 'gzip' }, 'not gzip at all');
    for (const path of ['/gzip', '/deflate', '/br']) expect(await page(path)).toMatchObject({ ok: true, body: text });
    const bomb = await page('/bomb', 1000);
    expect(bomb).toMatchObject({ ok: true, truncated: true });
    expect(bomb.ok && bomb.body.length).toBe(1000);
    expect(await page('/odd')).toMatchObject({ ok: false, code: 'unsupported_content' });
    expect(await page('/broken')).toMatchObject({ ok: false, code: 'unreachable' });
  });

  test('the body has at most max_bytes, cut between characters, and the reply fits its message', async () => {
    serve('/long', { 'content-type': 'application/json' }, `"${'世'.repeat(1000)}"`);
    const cut = await page('/long', 100);
    expect(cut).toMatchObject({ ok: true, truncated: true });
    expect(cut.ok && Buffer.byteLength(cut.body)).toBeLessThanOrEqual(100);
    expect(cut.ok && cut.body).toMatch(/^"世+$/);
    serve('/quotes', { 'content-type': 'text/plain' }, '"\\'.repeat(200_000));
    const quotes = await page('/quotes', 400_000, { maxReplyBytes: 300_000 });
    expect(Buffer.byteLength(JSON.stringify(quotes))).toBeLessThan(300_000);
    expect(quotes).toMatchObject({ truncated: true });
  });

  test.each([
    ['image/png', 'png'],
    ['application/octet-stream', 'x'],
  ])('%s is not text', async (type, body) => {
    serve('/binary', { 'content-type': type }, body);
    expect(await page('/binary')).toMatchObject({ ok: false, code: 'unsupported_content', message: expect.stringContaining(type) });
  });

  test('without a content type, text is taken and binary is not', async () => {
    serve('/bare', {}, 'just text');
    serve('/bare-binary', {}, Buffer.from([1, 0, 2]));
    expect(await page('/bare')).toMatchObject({ ok: true, body: 'just text', content_type: 'text/plain' });
    expect(await page('/bare-binary')).toMatchObject({ ok: false, code: 'unsupported_content' });
  });
});

describe('a PDF', () => {
  const pdf = (more = '', pages = 1) => Buffer.from(`%PDF-1.4\n${more}${'<</Type/Page>>'.repeat(pages)}\n%%EOF\n`);
  const TYPE = { 'content-type': 'application/pdf; x=y' };

  test('is held whole, as its reply says, packed or not', async () => {
    serve('/paper', TYPE, pdf());
    serve('/packed', { ...TYPE, 'content-encoding': 'gzip' }, gzipSync(pdf('packed')));
    for (const [path, bytes] of [
      ['/paper', pdf()],
      ['/packed', pdf('packed')],
    ] as const) {
      // Its size is none of text.
      const reply = await page(path, 1);
      expect(reply).toMatchObject({ ok: true, status: 200, content_type: 'application/pdf', body: '', truncated: false });
      const document = (reply.ok && reply.document) || null;
      expect(document?.bytes).toBe(bytes.length);
      expect(held.get(document!.subject)).toEqual(bytes);
    }
  });

  test.each<[string, Buffer, string, RegExp]>([
    ['no PDF at all', Buffer.from('<html>'), 'unsupported_content', /damaged/],
    ['cut off', pdf().subarray(0, 20), 'unsupported_content', /damaged/],
    ['encrypted', pdf('/Encrypt 5 0 R'), 'unsupported_content', /encrypted/],
    ['of more pages than can be shown', pdf('', 101), 'too_large', /101 pages/],
    ['of more bytes than can be shown', Buffer.concat([pdf(), Buffer.alloc(DOCUMENT_MAX_BYTES)]), 'too_large', /larger than/],
    ['for which there is no room', pdf('no room'), 'unreachable', /try again/],
  ])('that is %s is refused', async (_what, bytes, code, message) => {
    serve('/bad.pdf', TYPE, bytes);
    expect(await page('/bad.pdf')).toEqual({ ok: false, code, message: expect.stringMatching(message) });
  });

  test('of an error is not shown', async () => {
    serve('/gone.pdf', TYPE, pdf(), 404);
    const reply = await page('/gone.pdf');
    expect(reply).toMatchObject({ ok: true, status: 404, body: '' });
    expect(reply).not.toHaveProperty('document');
  });
});

describe('the domain lists of an agent', () => {
  const rules = (path: string, lists: Partial<FetchRequest>) => page(path, undefined, { rules: lists });

  test('let a host and its subdomains pass, or keep them out', async () => {
    serve('/here', { 'content-type': 'text/plain' }, 'here');
    const here = (host: string, lists: Partial<FetchRequest>) =>
      fetchWith(testConnector([upstream.port]), `http://${host}:${upstream.port}/here`, 1000, { rules: lists });
    for (const host of ['site.test', 'docs.site.test', 'SITE.test', 'site.test.']) {
      expect(await here(host, { allowed_domains: ['other.test', 'Site.test'] }), host).toMatchObject({ ok: true, body: 'here' });
      expect(await here(host, { blocked_domains: ['other.test', 'Site.test'] }), host).toMatchObject({
        ok: false,
        code: 'url_not_allowed',
      });
    }
    for (const host of ['notsite.test', 'site.test.evil.test', '127.0.0.1']) {
      expect(await here(host, { allowed_domains: ['site.test'] }), host).toMatchObject({ ok: false, code: 'url_not_allowed' });
      expect(await here(host, { blocked_domains: ['site.test'] }), host).toMatchObject({ ok: true, body: 'here' });
    }
  });

  test('may have names that no URL can have', async () => {
    serve('/here', { 'content-type': 'text/plain' }, 'here');
    expect(await rules('/here', { allowed_domains: ['xn--a.example', 'a.0x10', 'site.test'] })).toMatchObject({ ok: true });
    expect(await rules('/here', { allowed_domains: ['xn--a.example'] })).toMatchObject({ ok: false, code: 'url_not_allowed' });
    expect(await rules('/here', { blocked_domains: ['xn--a.example'] })).toMatchObject({ ok: true });
  });

  test('hold for every redirect, before it is followed', async () => {
    let reached = 0;
    const hop = (to: string) => (_req: IncomingMessage, res: ServerResponse) => void res.writeHead(302, { location: to }).end();
    routes['/hop-1'] = hop(`http://docs.site.test:${upstream.port}/hop-2`);
    routes['/hop-2'] = hop(`http://other.test:${upstream.port}/reached`);
    routes['/reached'] = (_req, res) => {
      reached++;
      res.writeHead(200, { 'content-type': 'text/plain' }).end('reached');
    };
    const refused = { ok: false, code: 'url_not_allowed', message: expect.stringContaining('other.test') };
    expect(await rules('/hop-1', { allowed_domains: ['site.test'] })).toMatchObject(refused);
    expect(await rules('/hop-1', { blocked_domains: ['other.test'] })).toMatchObject(refused);
    expect(reached).toBe(0);
    expect(await rules('/hop-1', { allowed_domains: ['site.test', 'other.test'] })).toMatchObject({ ok: true, body: 'reached' });
  });
});

describe('redirects', () => {
  const redirect = (path: string, location: string, status = 302) => {
    routes[path] = (_req, res) => res.writeHead(status, { location }).end();
  };

  test('are followed, relative ones too, and the final address is told', async () => {
    redirect('/r1', '/dir/r2', 301);
    redirect('/dir/r2', `//other.test:${upstream.port}/end`, 308);
    serve('/end', { 'content-type': 'text/plain' }, 'arrived');
    expect(await page('/r1')).toMatchObject({ ok: true, body: 'arrived', final_url: `http://other.test:${upstream.port}/end` });
  });

  test('with an endless body, and an endless body that is no text, are not read', async () => {
    const endless = (status: number, headers: Record<string, string>) => (_req: IncomingMessage, res: ServerResponse) => {
      res.writeHead(status, headers);
      const more = () => {
        while (!res.destroyed && res.write(Buffer.alloc(65_536)));
        if (!res.destroyed) res.once('drain', more);
      };
      more();
    };
    serve('/after', { 'content-type': 'text/plain' }, 'arrived');
    routes['/endless'] = endless(302, { location: '/after' });
    routes['/film'] = endless(200, { 'content-type': 'video/mp4' });
    routes['/endless-text'] = endless(200, { 'content-type': 'text/plain' });
    routes['/endless-zip'] = endless(200, { 'content-type': 'text/plain', 'content-encoding': 'gzip' });
    expect(await page('/endless')).toMatchObject({ ok: true, body: 'arrived' });
    expect(await page('/film')).toMatchObject({ ok: false, code: 'unsupported_content' });
    expect(await page('/endless-text')).toMatchObject({ ok: true, truncated: true });
    expect(await page('/endless-zip')).toMatchObject({ ok: false, code: 'unreachable' });
  });

  test('end after five', async () => {
    redirect('/loop', '/loop');
    expect(await page('/loop')).toMatchObject({ ok: false, code: 'too_many_redirects' });
  });

  test.each([
    'http://10.0.0.1/',
    'http://private.test/',
    'http://mixed.test/',
    'http://169.254.169.254/latest/meta-data',
    'http://[::1]/',
    'http://[::ffff:127.0.0.1]/',
    'file:///etc/passwd',
    'ftp://site.test/',
    'http://user:pw@site.test/',
    'http://site.test:22/',
  ])('to %s are refused', async (location) => {
    redirect('/away', location);
    expect(await page('/away')).toMatchObject({ ok: false, code: 'url_not_allowed' });
  });
});

describe('what is refused', () => {
  const real = createConnector({ policy: createReachPolicy(), resolve: testResolve });
  test.each([
    'http://127.0.0.1/',
    'http://2130706433/',
    'http://0177.1/',
    'http://[::ffff:7f00:1]/',
    'http://localhost.test/',
    'http://private.test/',
    'javascript:1',
    'not a url',
    `http://a.test/${'x'.repeat(9000)}`,
  ])('%s is not allowed', async (url) => {
    expect(await fetchWith(real, url)).toMatchObject({ ok: false, code: 'url_not_allowed' });
  });

  test('an unknown host, a closed port and a server that says nothing are unreachable', async () => {
    const gone = await startUpstream(() => {});
    await gone[Symbol.asyncDispose]();
    expect(await fetchWith(real, 'http://nowhere.example/')).toMatchObject({ ok: false, code: 'unreachable' });
    expect(await fetchWith(testConnector([gone.port]), `http://a.test:${gone.port}/`)).toMatchObject({ ok: false, code: 'unreachable' });
    routes['/silent'] = () => {};
    expect(await page('/silent', 1000, { timeoutMs: 300 })).toMatchObject({
      ok: false,
      code: 'unreachable',
      message: expect.stringContaining('did not answer'),
    });
    routes['/trickle'] = (_req, res) => {
      res.writeHead(200, { 'content-type': 'text/plain' }).write('x');
      const timer = setInterval(() => res.write('x'), 50);
      res.once('close', () => clearInterval(timer));
    };
    expect(await page('/trickle', 1000, { timeoutMs: 400 })).toMatchObject({
      ok: false,
      code: 'unreachable',
      message: expect.stringContaining('did not answer'),
    });
  });

  test('the connection goes to the addresses that were checked, whatever the name says later', async () => {
    serve('/pinned', { 'content-type': 'text/plain' }, 'pinned');
    let asked = 0;
    const connector = testConnector([upstream.port], async () => {
      asked += 1;
      return asked === 1 ? ['127.0.0.1'] : ['10.0.0.1'];
    });
    expect(await fetchWith(connector, `http://not-in-any-dns.test:${upstream.port}/pinned`)).toMatchObject({ ok: true, body: 'pinned' });
    expect(asked).toBe(1);
  });
});

describe('HTML as text', () => {
  test('blocks are lines, links keep their address, unseen parts are left out', async () => {
    serve(
      '/page',
      { 'content-type': 'text/html; charset=utf-8' },
      `<!doctype html><html><head><title>The  &amp; title</title><style>p { color: red }</style><script>if (a < b) alert("</p>")</script></head>
      <body><!-- hidden <p> --><h1>Big</h1><p>One <b>bold</b> word&nbsp;&mdash; 1 &lt; 2, caf&#233; &#x1F30D; &unknown;</p>
      <ul><li>first</li><li><a href="/next?a=1&amp;b=2" title="a > b">second</a></li></ul>
      <pre>  keep
    this</pre><img alt="A cat"><a href="javascript:x()">no</a><p>3 < 4 & done`,
    );
    const reply = await page('/page');
    expect(reply).toMatchObject({ ok: true, content_type: 'text/html' });
    expect(reply.ok && reply.body).toBe(
      `Title: The & title\n\n# Big\n\nOne bold word — 1 < 2, café 🌍 &unknown;\n\n- first\n- second (http://site.test:${upstream.port}/next?a=1&b=2)\n\n  keep\n    this\n\n[A cat]no\n\n3 < 4 & done`,
    );
  });

  test.each<[string, (n: number) => string]>([
    ['open tags', (n) => '<div '.repeat(n)],
    ['lone brackets', (n) => '<'.repeat(n)],
    ['open scripts', (n) => '<script>'.repeat(n)],
    ['open comments', (n) => '<!--'.repeat(n)],
    ['open quotes', (n) => '<a href="'.repeat(n)],
    ['spaces in tags', (n) => `<a${' '.repeat(n)}href`],
    ['entities', (n) => '&#x'.repeat(n)],
    ['closed quotes', (n) => '<a href="x">'.repeat(n)],
    ['scripts and ends', (n) => '<script></scripty>'.repeat(n)],
    ['white space', (n) => `a${' \n'.repeat(n)}`],
  ])('hostile markup takes linear time: %s', (_what, make) => {
    const time = (n: number) => {
      const html = make(n);
      const startedAt = performance.now();
      pageText(html, 'http://a.test/');
      return performance.now() - startedAt;
    };
    time(1_000);
    // Quadratic work would take many minutes here; the bound leaves room for a loaded machine.
    expect(time(300_000)).toBeLessThan(8_000);
  });
});
