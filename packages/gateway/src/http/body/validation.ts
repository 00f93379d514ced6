/**
 * Validates bodies against their schema. A refusal names the field by its path and the remedy: `events.0.content: …`, `foo: unknown field`
 * (CONTRACT 8 D). Shapes of the announcement era get the current shape shown (CONTRACT 8 N).
 */
import { invalidRequest } from '@manyhands/base';
import type { z } from 'zod';

const ISSUES_SHOWN = 5;
type Issue = z.core.$ZodIssue;
type Path = readonly PropertyKey[];

const LIMITED_SHAPE = '{"config":{"type":"cloud","networking":{"type":"limited","allowed_hosts":["example.com"]}}}';
/** Field names that were once announced, or that live somewhere else, and the shape that is meant. */
const HINTS = new Map<string, string>(
  Object.entries({
    agent_id: 'the current shape is {"agent":"agent_…"}',
    agent_version: 'the current shape is {"agent":{"type":"agent","id":"agent_…","version":1}}',
    network_access: `the current shape is ${LIMITED_SHAPE}`,
    networking: `the current shape is ${LIMITED_SHAPE}`,
    allowed_hosts: `the current shape is ${LIMITED_SHAPE}`,
    packages: 'the current shape is {"config":{"type":"cloud","packages":{"type":"packages","pip":[]}}}',
    environment: 'the current shape is {"environment_id":"env_…"}',
    message: 'the current shape is {"events":[{"type":"user.message","content":[{"type":"text","text":"…"}]}]}',
    messages: 'the current shape is {"events":[{"type":"user.message","content":[{"type":"text","text":"…"}]}]}',
    content: 'the current shape is "content":[{"type":"text","text":"…"}]',
    system_prompt: 'the current shape is {"system":"…"}',
  }),
);

function hint(field: string): string {
  const shape = HINTS.get(field);
  return shape === undefined ? '' : `; ${shape}`;
}
function at(path: Path): string {
  return path.length === 0 ? 'body' : path.map(String).join('.');
}
function valueAt(root: unknown, path: Path): unknown {
  let value = root;
  for (const key of path) value = value === null || typeof value !== 'object' ? undefined : (value as Record<PropertyKey, unknown>)[key];
  return value;
}

/** Of a union, the alternative that the input comes closest to: not one that fails at its very root, if there is another. */
function closest(alternatives: readonly (readonly Issue[])[]): readonly Issue[] | undefined {
  return alternatives.find((issues) => !issues.some((issue) => issue.code === 'invalid_type' && issue.path.length === 0)) ?? undefined;
}

function describe(issue: Issue, prefix: Path, root: unknown): string[] {
  const path = [...prefix, ...issue.path];
  const message = issue.message.replace(/^Invalid input: /, '');
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => `${at([...path, key])}: unknown field${hint(key)}`);
  }
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    const best = closest(issue.errors);
    if (best) return best.flatMap((inner) => describe(inner, path, root));
    const kinds = issue.errors.flatMap((issues) => issues.flatMap((inner) => (inner.code === 'invalid_type' ? [inner.expected] : [])));
    return [`${at(path)}: ${valueAt(root, path) === undefined ? 'required' : `must be ${[...new Set(kinds)].join(' or ')}`}`];
  }
  if (issue.code === 'invalid_type' && valueAt(root, path) === undefined) return [`${at(path)}: required`];
  if (issue.code === 'invalid_type') return [`${at(path)}: ${message}${hint(String(path.at(-1)))}`];
  if (issue.code === 'invalid_key') return [`${at(path)}: ${issue.issues[0]?.message ?? message}`];
  return [`${at(path)}: ${message}`];
}

/** The parsed body, or a 400 that names every field that is wrong (the first few). */
export function parseBody<T>(schema: z.ZodType<T>, body: unknown): T {
  if (body === undefined) throw invalidRequest('the request has no body; send a JSON object with content-type application/json');
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const problems: string[] = [];
  for (const issue of parsed.error.issues) {
    problems.push(...describe(issue, [], body).slice(0, ISSUES_SHOWN + 1));
    if (problems.length > ISSUES_SHOWN) break;
  }
  throw invalidRequest(problems.slice(0, ISSUES_SHOWN).join('; ') + (problems.length > ISSUES_SHOWN ? '; and more' : ''));
}

/** For requests that take no fields: no body at all or an empty object. */
export function refuseBody(body: unknown): void {
  if (body === undefined) return;
  if (body === null || typeof body !== 'object' || Array.isArray(body))
    throw invalidRequest('body: this request takes none; leave it out or send {}');
  const [field] = Object.keys(body);
  if (field !== undefined) throw invalidRequest(`${field}: unknown field; this request takes none`);
}
