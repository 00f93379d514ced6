/**
 * HTML as plain text, in its simplest form: a single pass over tags, no tree. Scripts, styles and other unseen content are left out,
 * blocks become lines, list items get a dash, links keep their address. Linear in its input, whatever that is.
 */
const RAW_TEXT = new Set(['script', 'style', 'noscript', 'template', 'svg', 'iframe', 'object', 'title']);
const BLOCKS = new Set(
  'address article aside blockquote body dd details div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr li main nav ol p pre section summary table tbody td tfoot th thead tr ul br'.split(
    ' ',
  ),
);
const WIDE = new Set('p h1 h2 h3 h4 h5 h6 pre ul ol table blockquote section article'.split(' '));
const ENTITIES: Record<string, string> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  nbsp: ' ',
  ndash: '–',
  mdash: '—',
  hellip: '…',
  lsquo: '‘',
  rsquo: '’',
  ldquo: '“',
  rdquo: '”',
  laquo: '«',
  raquo: '»',
  bull: '•',
  middot: '·',
  copy: '©',
  reg: '®',
  trade: '™',
  euro: '€',
  times: '×',
  rarr: '→',
  larr: '←',
  shy: '',
};

export function pageText(html: string, baseUrl: string): string {
  const out = createLines();
  const title = between(html, '<title', '</title');
  if (title.trim() !== '') out.text(`Title: ${decode(title)}`);
  out.line(true);
  let link: string | null = null;
  let at = 0;
  while (at < html.length) {
    const open = html.indexOf('<', at);
    if (open < 0) {
      out.text(decode(html.slice(at)));
      break;
    }
    if (open > at) out.text(decode(html.slice(at, open)));
    if (html.startsWith('<!--', open)) {
      at = after(html, '-->', open + 4);
      continue;
    }
    const name = /^[a-z][a-z0-9]*/i.exec(html.slice(open + (html[open + 1] === '/' ? 2 : 1), open + 30))?.[0].toLowerCase();
    if (name === undefined && html[open + 1] !== '/' && html[open + 1] !== '!' && html[open + 1] !== '?') {
      // A lone "<" is text.
      out.text('<');
      at = open + 1;
      continue;
    }
    const close = tagEnd(html, open);
    const tag = html.slice(open, close);
    const isEnd = html[open + 1] === '/';
    at = close;
    if (name === undefined) continue;
    if (RAW_TEXT.has(name)) {
      if (!isEnd && !tag.endsWith('/>')) at = skipTo(html, name, close);
    } else if (name === 'a') {
      if (link !== null) out.text(` (${link})`);
      link = isEnd ? null : linkOf(tag, baseUrl);
    } else if (name === 'pre') {
      out.line(true);
      out.keepSpaces(!isEnd);
    } else if (BLOCKS.has(name)) {
      out.line(WIDE.has(name));
      if (name === 'li' && !isEnd) out.text('- ');
      if (/^h[1-6]$/.test(name) && !isEnd) out.text(`${'#'.repeat(Number(name[1]))} `);
    } else if (name === 'img' && !isEnd) {
      const alt = attribute(tag, 'alt');
      if (alt) out.text(`[${decode(alt)}]`);
    }
  }
  return out.finish();
}

/** Collects text; runs of white space become one space unless they are to be kept. */
function createLines() {
  const parts: string[] = [];
  let keep = false;
  let pendingSpace = false;
  let atLineStart = true;
  let blank = true;
  return {
    text(text: string): void {
      if (keep) {
        parts.push(text);
        atLineStart = text.endsWith('\n');
        blank = false;
        return;
      }
      const words = text.split(/[\s\u00a0]+/);
      words.forEach((word, index) => {
        if (index > 0) pendingSpace = true;
        if (word === '') return;
        if (pendingSpace && !atLineStart) parts.push(' ');
        parts.push(word);
        pendingSpace = false;
        atLineStart = false;
        blank = false;
      });
    },
    /** Ends the line; `wide` also leaves one empty line. */
    line(wide: boolean): void {
      if (!atLineStart) parts.push('\n');
      atLineStart = true;
      pendingSpace = false;
      if (wide && !blank) {
        parts.push('\n');
        blank = true;
      }
    },
    keepSpaces(on: boolean): void {
      keep = on;
    },
    finish: () =>
      parts
        .join('')
        .replace(/\n{3,}/g, '\n\n')
        .trim(),
  };
}

/** Where a tag ends; a ">" inside quotes does not end it. An unclosed one takes the rest. */
function tagEnd(html: string, open: number): number {
  let quote = '';
  for (let at = open + 1; at < html.length; at++) {
    const char = html[at]!;
    if (quote !== '') {
      if (char === quote) quote = '';
    } else if ((char === '"' || char === "'") && html[at - 1] === '=') quote = char;
    else if (char === '>') return at + 1;
  }
  return html.length;
}

function after(html: string, mark: string, from: number): number {
  const found = html.indexOf(mark, from);
  return found < 0 ? html.length : found + mark.length;
}

function skipTo(html: string, name: string, from: number): number {
  const end = new RegExp(`</${name}(?=[\\s/>])`, 'gi');
  end.lastIndex = from;
  const found = end.exec(html);
  return found ? tagEnd(html, found.index) : html.length;
}

function between(html: string, open: string, close: string): string {
  const lower = html.slice(0, 100_000).toLowerCase();
  const start = lower.indexOf(open);
  const from = start < 0 ? -1 : lower.indexOf('>', start);
  const end = from < 0 ? -1 : lower.indexOf(close, from);
  return end < 0 ? '' : html.slice(from + 1, end);
}

function attribute(tag: string, name: string): string | null {
  const match = new RegExp(`\\s${name}\\s*=\\s*(?:"([^"]*)"|'([^']*)'|([^\\s>]+))`, 'i').exec(tag);
  return match ? (match[1] ?? match[2] ?? match[3] ?? '') : null;
}

function linkOf(tag: string, baseUrl: string): string | null {
  const href = attribute(tag, 'href');
  if (!href || href.startsWith('#')) return null;
  const url = URL.canParse(decode(href), baseUrl) ? new URL(decode(href), baseUrl) : null;
  return url && (url.protocol === 'http:' || url.protocol === 'https:') ? url.href : null;
}

function decode(text: string): string {
  return text.replace(/&(#x[0-9a-f]{1,6}|#\d{1,7}|[a-z]{2,8});/gi, (whole, name: string) => {
    if (name[0] !== '#') return ENTITIES[name] ?? ENTITIES[name.toLowerCase()] ?? whole;
    const code = name[1] === 'x' || name[1] === 'X' ? Number.parseInt(name.slice(2), 16) : Number(name.slice(1));
    return code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? String.fromCodePoint(code) : '';
  });
}
