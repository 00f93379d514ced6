/** docs/METRICS.md and the dashboard cannot lie: both are held against what the processes register. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createMetrics } from '@manyhands/base';
import { expect, test } from 'vitest';
import { registeredMetrics, type ServiceName, sampleNames, tableColumns } from './metrics-table.ts';

const ROOT = path.resolve(import.meta.dirname, '..');
const DOCUMENT = readFileSync(path.join(ROOT, 'docs/METRICS.md'), 'utf8');
const registered = registeredMetrics();
const services = Object.keys(registered) as ServiceName[];

/** The table below the heading of a process, as rows of cells. */
function tableOf(service: ServiceName): string[][] {
  const section = DOCUMENT.split(/^## /m).find((text) => text.startsWith(`${service}\n`)) ?? '';
  return section
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    );
}

test.each(services)('docs/METRICS.md tells every metric of %s with its type, labels and meaning, and no other', (service) => {
  const told = tableOf(service).map((cells) => cells.slice(0, 4));
  expect(told).toEqual(registered[service].map(tableColumns));
});

test('docs/METRICS.md says of every metric what to do with it', () => {
  for (const service of services) for (const [name, , , , advice] of tableOf(service)) expect(advice, name).toMatch(/\S{2}/);
});

test('a metric that several processes tell means the same in all of them', () => {
  const meanings = new Map<string, string>();
  for (const fact of services.flatMap((service) => registered[service])) {
    const meaning = JSON.stringify(tableColumns(fact));
    expect(meanings.get(fact.name) ?? meaning).toBe(meaning);
    meanings.set(fact.name, meaning);
  }
});

interface Panel {
  title: string;
  targets?: { expr: string }[];
  panels?: Panel[];
}

test('the dashboard asks for metrics and labels that exist, and each panel for something', async () => {
  const dashboard = JSON.parse(readFileSync(path.join(ROOT, 'deploy/grafana/manyhands.json'), 'utf8')) as {
    title: string;
    panels: Panel[];
  };
  const facts = services.flatMap((service) => registered[service]);
  const process = createMetrics('any');
  process.watchProcess();
  const usual = [...(await process.text()).matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name!);
  const names = new Set([...facts.flatMap(sampleNames), ...usual]);
  const labels = new Set([...facts.flatMap(({ labels: own }) => Object.keys(own)), 'service', 'instance', 'le']);
  const flat = dashboard.panels.flatMap((panel) => [panel, ...(panel.panels ?? [])]);
  const expressions = flat.flatMap(({ targets }) => targets ?? []).map(({ expr }) => expr);
  expect(expressions.length).toBeGreaterThan(15);
  for (const expression of expressions) {
    const asked = expression.match(/\b(manyhands|process|nodejs)_[a-z0-9_]+\b/g) ?? [];
    expect(asked.length, expression).toBeGreaterThan(0);
    for (const name of asked) expect(names, expression).toContain(name);
    const grouped = [...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list]) => list!.split(',').map((label) => label.trim()));
    const selected = [...expression.matchAll(/[{,]\s*([a-z_]+)\s*(?:=~|!~|!=|=)/g)].map(([, label]) => label!);
    for (const label of [...grouped, ...selected]) expect(labels, expression).toContain(label);
  }
  // What the dashboard leaves out is at least in the documentation; the numbers that call for action are on it.
  for (const name of ['manyhands_queue_oldest_waiting_seconds', 'manyhands_sessions_without_worker', 'manyhands_sandbox_room'])
    expect(expressions.join('\n')).toContain(name);
});
