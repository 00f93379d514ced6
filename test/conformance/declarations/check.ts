/**
 * Whether a value is what a shape says. Strict: besides what is missing or of another type, a field and a member of a union that the
 * declarations do not know are problems. For a client that is older than the server (`older`), these two are not: such a client ignores them.
 */
import { type Field, membersOf, namedShape, type Shape } from './shape.ts';

export interface Problem {
  /** Where, without indexes: `data[].agent.tools[].name`; empty for the value itself. */
  place: string;
  what: 'missing' | 'unknown field' | 'unknown member' | 'wrong';
  text: string;
}
export interface CheckOptions {
  older?: boolean;
}
type ObjectShape = Extract<Shape, { kind: 'object' }>;
type Value = Record<string, unknown>;

const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;
const SHOWN_CHARACTERS = 80;

export function check(value: unknown, shape: Shape, shapes: Record<string, Shape>, { older = false }: CheckOptions = {}): Problem[] {
  return visit(value, shape, '');

  function visit(at: unknown, expected: Shape, place: string): Problem[] {
    switch (expected.kind) {
      case 'ref':
        return visit(at, namedShape(expected.name, shapes), place);
      case 'union':
        return visitUnion(at, membersOf(expected, shapes), place);
      case 'array':
        return Array.isArray(at) ? at.flatMap((item) => visit(item, expected.of, `${place}[]`)) : [wrong(at, expected, place)];
      case 'object':
        return isObject(at) ? visitObject(at, expected, place) : [wrong(at, expected, place)];
      default:
        return isScalar(at, expected) ? [] : [wrong(at, expected, place)];
    }
  }

  function visitObject(at: Value, expected: ObjectShape, place: string): Problem[] {
    const inside = (name: string) => (place === '' ? name : `${place}.${name}`);
    const known = Object.entries(expected.fields).flatMap(([name, { shape: field, optional }]): Problem[] => {
      if (Object.hasOwn(at, name)) return visit(at[name], field, inside(name));
      return optional ? [] : [{ place: inside(name), what: 'missing', text: `it has to be ${told(field)}` }];
    });
    const others = Object.entries(at).filter(([name]) => !Object.hasOwn(expected.fields, name));
    const beyond = others.flatMap(([name, item]): Problem[] => {
      if (expected.rest) return visit(item, expected.rest, inside('*'));
      return older ? [] : [{ place: inside(name), what: 'unknown field', text: `it is ${shown(item)}` }];
    });
    return [...known, ...beyond];
  }

  function visitUnion(at: unknown, members: readonly Shape[], place: string): Problem[] {
    if (members.some((member) => isScalar(at, member))) return [];
    const objects = isObject(at) ? members.filter((member) => member.kind === 'object') : [];
    const literals = objects.flatMap(literalsOf);
    const chosen = isObject(at) ? objects.filter((member) => literalsOf(member).every(([name, value]) => at[name] === value)) : [];
    const candidates = Array.isArray(at) ? members.filter((member) => member.kind === 'array') : chosen;
    if (candidates.length > 0) {
      // Where no literal tells members apart, the one that fits best speaks.
      const outcomes = candidates.map((member) => visit(at, member, place));
      return outcomes.toSorted((a, b) => a.length - b.length)[0]!;
    }
    const name = isObject(at) ? literals.find(([field]) => typeof at[field] === 'string') : undefined;
    if (name === undefined) return [wrong(at, { kind: 'union', of: [...members] }, place)];
    return older ? [] : [{ place, what: 'unknown member', text: `it is ${shown(at)}` }];
  }
}

function wrong(at: unknown, expected: Shape, place: string): Problem {
  return { place, what: 'wrong', text: `it is ${shown(at)} and has to be ${told(expected)}` };
}

/** Fields of an object that can have one value only: they tell the members of a union apart. */
function literalsOf(shape: ObjectShape): [string, unknown][] {
  const literal = ([name, { shape: field, optional }]: [string, Field]): [string, unknown][] =>
    field.kind === 'literal' && !optional ? [[name, field.value]] : [];
  return Object.entries(shape.fields).flatMap(literal);
}

function isScalar(at: unknown, expected: Shape): boolean {
  switch (expected.kind) {
    case 'unknown':
      return true;
    case 'null':
      return at === null;
    case 'literal':
      return at === expected.value;
    case 'string':
      return typeof at === 'string' && (expected.format !== 'timestamp' || TIMESTAMP.test(at));
    case 'number':
    case 'boolean':
      return typeof at === expected.kind;
    default:
      return false;
  }
}

function isObject(at: unknown): at is Value {
  return typeof at === 'object' && at !== null && !Array.isArray(at);
}

function shown(at: unknown): string {
  const text = JSON.stringify(at) ?? 'undefined';
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
}

/** What is expected, in words. */
function told(expected: Shape): string {
  if (expected.kind === 'ref') return expected.name;
  if (expected.kind === 'literal') return JSON.stringify(expected.value);
  if (expected.kind === 'string' && expected.format) return `a ${expected.format}`;
  if (expected.kind === 'union') return expected.of.map(told).join(' or ');
  if (expected.kind !== 'object') return expected.kind;
  const literals = literalsOf(expected);
  return literals.length === 0 ? 'an object' : `{ ${literals.map(([name, value]) => `${name}: ${JSON.stringify(value)}`).join(', ')} }`;
}
