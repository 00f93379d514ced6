/** The text format of Prometheus (version 0.0.4), read strictly: what a scrape of a process says. */
import type { Service } from '@manyhands/test-kit';

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}
export interface Family {
  type: string;
  help: string;
  samples: Sample[];
}
export type Exposition = Map<string, Family>;

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*/;
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|(?=\}))/;
const HISTOGRAM_SUFFIX = /_(bucket|sum|count)$/;

/** Throws where the text is not what the format allows: a sample without its type, a type twice, a series twice, a number that is none. */
export function parseExposition(text: string): Exposition {
  if (!text.endsWith('\n')) throw new Error('the last line does not end');
  const families: Exposition = new Map();
  const seen = new Set<string>();
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const comment = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line);
    if (comment) {
      const [, kind, name, rest] = comment as unknown as [string, string, string, string];
      const family = families.get(name) ?? { type: '', help: '', samples: [] };
      const field = kind === 'HELP' ? 'help' : 'type';
      if (family[field] !== '') throw new Error(`${name} has its ${kind} twice`);
      family[field] = rest;
      families.set(name, family);
      continue;
    }
    if (line.startsWith('#')) continue;
    const sample = parseSample(line);
    const own = families.get(sample.name);
    const family = own ?? families.get(sample.name.replace(HISTOGRAM_SUFFIX, ''));
    if (!family?.type || (!own && !['histogram', 'summary'].includes(family.type))) throw new Error(`no type before: ${line}`);
    const series = `${sample.name}${JSON.stringify(Object.entries(sample.labels).sort())}`;
    if (seen.has(series)) throw new Error(`twice: ${line}`);
    seen.add(series);
    family.samples.push(sample);
  }
  return families;
}

function parseSample(line: string): Sample {
  const name = NAME.exec(line)?.[0];
  if (name === undefined) throw new Error(`no metric name: ${line}`);
  const labels: Record<string, string> = {};
  let rest = line.slice(name.length);
  if (rest.startsWith('{')) {
    rest = rest.slice(1);
    while (!rest.startsWith('}')) {
      const found = LABEL.exec(rest);
      if (!found) throw new Error(`labels cannot be read: ${line}`);
      labels[found[1]!] = found[2]!.replaceAll(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped));
      rest = rest.slice(found[0].length);
    }
    rest = rest.slice(1);
  }
  const number = /^ ([-+]?(?:\d[\d.]*(?:e[-+]?\d+)?|Inf)|NaN)$/i.exec(rest)?.[1];
  if (number === undefined) throw new Error(`no value: ${line}`);
  return { name, labels, value: Number(number.replace('Inf', 'Infinity')) };
}

/** The samples of a name with these labels, added up; undefined if there is none. */
export function sum(exposition: Exposition, name: string, labels: Record<string, string> = {}): number | undefined {
  const family = exposition.get(name) ?? exposition.get(name.replace(HISTOGRAM_SUFFIX, ''));
  const found = (family?.samples ?? []).filter(
    (sample) => sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  );
  return found.length === 0 ? undefined : found.reduce((total, { value }) => total + value, 0);
}

/** Address of the metrics and health checks of a process that was started with MANYHANDS_OPS_LISTEN. */
export function operationsUrl(service: Service | string): string {
  return typeof service === 'string' ? service : `http://127.0.0.1:${String(service.ready['ops_port'])}`;
}

/** Of a process, or of an address. */
export async function scrapeText(service: Service | string): Promise<string> {
  const response = await fetch(`${operationsUrl(service)}/metrics`);
  if (response.status !== 200) throw new Error(`scrape of ${operationsUrl(service)}: ${response.status}`);
  return response.text();
}
export async function scrape(service: Service | string): Promise<Exposition> {
  return parseExposition(await scrapeText(service));
}

export async function readiness(service: Service | string): Promise<{ code: number; status: string; missing: string[] }> {
  const response = await fetch(`${operationsUrl(service)}/readyz`);
  return { code: response.status, ...((await response.json()) as { status: string; missing: string[] }) };
}
