/**
 * What the declarations of an SDK say, as data: the shape of every answer, and which endpoint gives which. It is made from the package's own
 * `.d.ts` and `.mjs` files (`read.ts`) and is plain JSON, so that it can be kept in a file for the other processes of a run.
 */
export type Shape =
  | { kind: 'string'; format?: 'timestamp' }
  | { kind: 'number' | 'boolean' | 'null' | 'unknown' }
  | { kind: 'literal'; value: string | number | boolean }
  | { kind: 'array'; of: Shape }
  | { kind: 'object'; fields: Record<string, Field>; rest?: Shape }
  | { kind: 'union'; of: Shape[] }
  | { kind: 'ref'; name: string };
export interface Field {
  shape: Shape;
  optional?: true;
}

/** How the body of a good answer is to be read. `bytes` are whatever the caller stored. */
export type Answer = { kind: 'json'; shape: Shape } | { kind: 'stream'; shape: Shape } | { kind: 'bytes' };

export interface Route {
  /** As a program writes it behind `client.`: `beta.agents.create`. */
  call: string;
  method: 'GET' | 'POST' | 'DELETE';
  /** With `{}` for each parameter: `/v1/agents/{}`. */
  path: string;
  answer: Answer;
}

export interface Declarations {
  /** `1.12.0` */
  version: string;
  routes: Route[];
  /** The body of every refusal. */
  refusal: Shape;
  shapes: Record<string, Shape>;
}

/** `/v1/agents/{agent_id}` → `/v1/agents/{}` */
export function pathPattern(path: string): string {
  return path.replaceAll(/\{[^}]*\}/g, '{}');
}

/** The members of a union, those of named unions inside it too. */
export function membersOf(shape: Shape, shapes: Record<string, Shape>): Shape[] {
  if (shape.kind === 'union') return shape.of.flatMap((each) => membersOf(each, shapes));
  if (shape.kind === 'ref') return membersOf(namedShape(shape.name, shapes), shapes);
  return [shape];
}

export function namedShape(name: string, shapes: Record<string, Shape>): Shape {
  const shape = shapes[name];
  if (!shape) throw new Error(`the declarations have no ${name}`);
  return shape;
}

/** The values of `type` by which the members of a union are told apart. */
export function kindsOf(shape: Shape, shapes: Record<string, Shape>): string[] {
  return membersOf(shape, shapes).flatMap((member) => {
    const type = member.kind === 'object' ? member.fields['type']?.shape : undefined;
    return type?.kind === 'literal' ? [String(type.value)] : [];
  });
}
