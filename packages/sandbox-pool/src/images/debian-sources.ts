/**
 * The apt sources of this host, cut down to what belongs to its release: entries of other projects' repositories may need keys or settings that
 * a new root file system does not have.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

export interface DebianRelease {
  id: string;
  codename: string;
}

/** Null where this is no Debian or a relative of it. */
export function readDebianRelease(text: string): DebianRelease | null {
  const values = Object.fromEntries(
    text.split('\n').flatMap((line) => {
      const [, name, value] = /^([A-Z_]+)="?([^"]*)"?$/.exec(line.trim()) ?? [];
      return name === undefined || value === undefined ? [] : [[name, value]];
    }),
  );
  const { ID: id = '', ID_LIKE: like = '', VERSION_CODENAME: codename = '' } = values;
  const isDebian = [id, ...like.split(' ')].some((name) => name === 'debian' || name === 'ubuntu');
  return isDebian && /^[a-z0-9-]+$/.test(codename) ? { id, codename } : null;
}

const belongs = (suite: string, codename: string) => suite === codename || suite.startsWith(`${codename}-`);

/** Lines of the one-line format that belong to the release. */
export function filterOneLine(text: string, codename: string): string {
  return text
    .split('\n')
    .filter((line) => {
      const suite = /^\s*deb\s+(?:\[[^\]]*\]\s+)?\S+\s+(\S+)/.exec(line)?.[1];
      return suite !== undefined && belongs(suite, codename);
    })
    .map((line) => `${line.trim()}\n`)
    .join('');
}

/** Paragraphs of the deb822 format that belong to the release, with those of their suites that do. */
export function filterDeb822(text: string, codename: string): string {
  const paragraphs = text.split(/\n(?:[ \t]*\n)+/).flatMap((paragraph) => {
    const lines = paragraph.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'));
    const field = (name: string) =>
      lines
        .find((line) => line.toLowerCase().startsWith(`${name}:`))
        ?.slice(name.length + 1)
        .trim();
    if (lines.length === 0 || field('enabled')?.toLowerCase() === 'no' || !(field('types') ?? '').split(/\s+/).includes('deb')) return [];
    const suites = (field('suites') ?? '').split(/\s+/).filter((suite) => belongs(suite, codename));
    if (suites.length === 0) return [];
    return [lines.map((line) => (/^suites:/i.test(line) ? `Suites: ${suites.join(' ')}` : line)).join('\n')];
  });
  return paragraphs.map((paragraph) => `${paragraph}\n`).join('\n');
}

export interface SourcesFile {
  name: string;
  text: string;
}

/** The cut-down sources in one file of each format, without those that came out empty. */
export function collectSources(codename: string, etcApt = '/etc/apt'): SourcesFile[] {
  const parts = path.join(etcApt, 'sources.list.d');
  const files = [
    path.join(etcApt, 'sources.list'),
    ...(existsSync(parts)
      ? readdirSync(parts)
          .sort()
          .map((name) => path.join(parts, name))
      : []),
  ];
  let list = '';
  const stanzas: string[] = [];
  for (const file of files.filter((name) => existsSync(name))) {
    if (file.endsWith('.list')) list += filterOneLine(readFileSync(file, 'utf8'), codename);
    else if (file.endsWith('.sources')) stanzas.push(filterDeb822(readFileSync(file, 'utf8'), codename));
  }
  return [
    { name: 'sandbox.list', text: list },
    { name: 'sandbox.sources', text: stanzas.filter((text) => text !== '').join('\n') },
  ].filter(({ text }) => text !== '');
}
