/**
 * Renders a Helm chart without Helm, as far as ours goes: paths, if/else, range over a list, include, define, and the functions below. Whatever
 * else stands in a template is refused, so that a chart that passes here says the same to Helm.
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { z } from 'zod';

export type Values = { [name: string]: unknown };
export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; labels?: Record<string, string> };
  // biome-ignore lint/suspicious/noExplicitAny: manifests of every kind
  [key: string]: any;
}
export interface RenderedChart {
  manifests: Manifest[];
  notes: string;
}

/** `given` overrides the chart's values, as a values file does. Throws where Helm would. */
export function renderChart(chart: string, given: Values): RenderedChart {
  const read = (name: string) => readFileSync(path.join(chart, name), 'utf8');
  const values = merge(parse(read('values.yaml')) as Values, given);
  z.fromJSONSchema(JSON.parse(read('values.schema.json')) as Parameters<typeof z.fromJSONSchema>[0]).parse(values);
  const facts = parse(read('Chart.yaml')) as { name: string; appVersion: string };
  const scope = {
    Values: values,
    Release: { Name: 'test', Namespace: 'agents', Service: 'Helm' },
    Chart: { Name: facts.name, AppVersion: facts.appVersion },
  };
  const defines = new Map<string, Node[]>();
  const files = readdirSync(path.join(chart, 'templates')).sort();
  const parsed = files.map((file) => ({ file, nodes: parseTemplate(read(`templates/${file}`), file, defines) }));
  const manifests: Manifest[] = [];
  let notes = '';
  for (const { file, nodes } of parsed) {
    const text = renderNodes(nodes, scope, defines);
    if (file === 'NOTES.txt') notes = text;
    if (!file.endsWith('.yaml')) continue;
    for (const document of parseAllDocuments(text)) {
      if (document.errors.length > 0) throw new Error(`${file}: ${document.errors[0]!.message}\n${text}`);
      const manifest = document.toJS() as Manifest | null;
      if (manifest !== null) manifests.push(manifest);
    }
  }
  return { manifests, notes };
}

function merge(base: Values, over: Values): Values {
  const isMap = (value: unknown): value is Values => typeof value === 'object' && value !== null && !Array.isArray(value);
  return Object.fromEntries(
    [...new Set([...Object.keys(base), ...Object.keys(over)])].map((key) => {
      const [old, fresh] = [base[key], over[key]];
      return [key, isMap(old) && isMap(fresh) ? merge(old, fresh) : key in over ? fresh : old];
    }),
  );
}

type Node =
  | { type: 'text'; text: string }
  | { type: 'value'; expression: string }
  | { type: 'if'; condition: string; body: Node[]; otherwise: Node[] }
  | { type: 'range'; list: string; body: Node[] };

interface OpenBlock {
  nodes: Node[];
  /** Where `else` goes on; null where none may come. */
  otherwise: Node[] | null;
}

function parseTemplate(source: string, file: string, defines: Map<string, Node[]>): Node[] {
  const top: OpenBlock = { nodes: [], otherwise: null };
  const stack = [top];
  const current = () => stack.at(-1)!.nodes;
  const open = (nodes: Node[], otherwise: OpenBlock['otherwise'] = null) => stack.push({ nodes, otherwise });
  let trimNext = false;
  for (const part of source.split(/(\{\{.*?\}\})/s)) {
    const action = /^\{\{(-?)\s+(.*?)\s+(-?)\}\}$/s.exec(part) ?? /^\{\{(-?)\s*(.*?)\s*(-?)\}\}$/s.exec(part);
    if (!action) {
      current().push({ type: 'text', text: trimNext ? part.trimStart() : part });
      continue;
    }
    const [, before, body = '', after] = action;
    const last = current().at(-1);
    if (before === '-' && last?.type === 'text') last.text = last.text.trimEnd();
    trimNext = after === '-';
    const [word = '', rest = ''] = /^(\S+)\s*(.*)$/s.exec(body)?.slice(1) ?? [];
    if (word === 'define') {
      const nodes: Node[] = [];
      defines.set(rest.replaceAll('"', ''), nodes);
      open(nodes);
    } else if (word === 'if') {
      const node: Node = { type: 'if', condition: rest, body: [], otherwise: [] };
      current().push(node);
      open(node.body, node.otherwise);
    } else if (word === 'range') {
      const node: Node = { type: 'range', list: rest, body: [] };
      current().push(node);
      open(node.body);
    } else if (word === 'else' && rest === '') {
      const otherwise = stack.pop()?.otherwise;
      if (!otherwise) throw new Error(`${file}: else without if`);
      open(otherwise);
    } else if (word === 'end' && rest === '') {
      if (stack.length === 1) throw new Error(`${file}: end without a beginning`);
      stack.pop();
    } else current().push({ type: 'value', expression: body });
  }
  if (stack.length !== 1) throw new Error(`${file}: a block has no end`);
  return top.nodes;
}

function renderNodes(nodes: Node[], dot: unknown, defines: Map<string, Node[]>): string {
  return nodes.map((node) => renderNode(node, dot, defines)).join('');
}

function renderNode(node: Node, dot: unknown, defines: Map<string, Node[]>): string {
  switch (node.type) {
    case 'text':
      return node.text;
    case 'value':
      return print(evaluate(node.expression, dot, defines));
    case 'if':
      return renderNodes(isTrue(evaluate(node.condition, dot, defines)) ? node.body : node.otherwise, dot, defines);
    case 'range': {
      const list = evaluate(node.list, dot, defines);
      if (!Array.isArray(list)) throw new Error(`range ${node.list}: not a list`);
      return list.map((item) => renderNodes(node.body, item, defines)).join('');
    }
  }
}

const FUNCTIONS: Record<string, (...parameters: unknown[]) => unknown> = {
  quote: (value) => JSON.stringify(print(value)),
  toYaml: (value) => stringify(value).trimEnd(),
  nindent: (width, text) => `\n${print(text).replaceAll(/^(?=.)/gm, ' '.repeat(width as number))}`,
  required: (message, value) => {
    if (value === undefined || value === null || value === '') throw new Error(print(message));
    return value;
  },
  not: (value) => !isTrue(value),
  and: (...values) => values.find((value) => !isTrue(value)) ?? values.at(-1),
  eq: (one, other) => one === other,
};

/** A pipeline: each step gets the value of the one before as its last parameter. */
function evaluate(expression: string, dot: unknown, defines: Map<string, Node[]>): unknown {
  const tokens = expression.match(/"(?:[^"\\]|\\.)*"|[()|]|[^\s()|]+/g) ?? [];
  let at = 0;
  const pipeline = (): unknown => {
    let value = command();
    while (tokens[at] === '|') {
      at += 1;
      value = command(value);
    }
    return value;
  };
  const command = (...piped: unknown[]): unknown => {
    const token = tokens[at]!;
    const name = /^[a-zA-Z]+$/.test(token) ? token : null;
    if (name === null) {
      if (piped.length > 0) throw new Error(`${expression}: ${token} is no function`);
      return operand();
    }
    at += 1;
    const parameters: unknown[] = [];
    while (at < tokens.length && tokens[at] !== '|' && tokens[at] !== ')') parameters.push(operand());
    parameters.push(...piped);
    if (name === 'include') {
      const nodes = defines.get(print(parameters[0]));
      if (!nodes || parameters.length !== 2) throw new Error(`${expression}: not a template of this chart`);
      return renderNodes(nodes, parameters[1], defines);
    }
    if (!Object.hasOwn(FUNCTIONS, name)) throw new Error(`${expression}: the function ${name} is not known here`);
    return FUNCTIONS[name]!(...parameters);
  };
  const operand = (): unknown => {
    const token = tokens[at++]!;
    if (token === '(') {
      const value = pipeline();
      if (tokens[at++] !== ')') throw new Error(`${expression}: a parenthesis is not closed`);
      return value;
    }
    if (token.startsWith('"')) return JSON.parse(token);
    if (/^\d+$/.test(token)) return Number(token);
    if (token === '.') return dot;
    if (/^(\.[A-Za-z]\w*)+$/.test(token)) return lookUp(dot, token.slice(1).split('.'), expression);
    throw new Error(`${expression}: ${token} is not understood here`);
  };
  const value = pipeline();
  if (at !== tokens.length) throw new Error(`${expression}: not understood after ${tokens.slice(0, at).join(' ')}`);
  return value;
}

/** Stricter than Helm: a value that does not exist is an error, since it is a slip in the chart. */
function lookUp(dot: unknown, names: string[], expression: string): unknown {
  let value = dot;
  for (const name of names) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) throw new Error(`${expression}: there is no ${name}`);
    value = (value as Values)[name];
  }
  return value;
}

function isTrue(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}
function print(value: unknown): string {
  if (typeof value === 'object' && value !== null) throw new Error(`a map or list cannot be printed: ${JSON.stringify(value)}`);
  return String(value ?? '');
}
