/** Custom tools: what a client runs on behalf of the agent, and the rules its definition keeps (CONTRACT 4.1; BEHAVIOUR 11). */
import { z } from 'zod';

const NAME = /^[A-Za-z0-9_-]{1,128}$/;
const PROPERTY_NAME = /^[A-Za-z0-9_.-]{1,64}$/;
/** Belongs to tools of MCP servers. */
const RESERVED_PREFIX = 'mcp__';
/** The Messages API takes none of these at the top of a tool's schema. */
const TOP_LEVEL_REFUSED = ['oneOf', 'anyOf', 'allOf'] as const;
/** Deeper is no schema but an attempt on whoever walks it. */
const SCHEMA_DEPTH_MAX = 64;

type Path = PropertyKey[];

/** Where a schema says `$ref`, or null. Walks without recursion: the depth is the sender's choice. */
function findProblem(schema: object): { path: Path; message: string } | null {
  const left: { value: unknown; path: Path }[] = [{ value: schema, path: [] }];
  for (let next = left.pop(); next; next = left.pop()) {
    const { value, path } = next;
    if (typeof value !== 'object' || value === null) continue;
    if (path.length > SCHEMA_DEPTH_MAX) return { path: path.slice(0, 4), message: `nested deeper than ${SCHEMA_DEPTH_MAX} levels` };
    for (const [key, inner] of Object.entries(value)) {
      const place = [...path, Array.isArray(value) ? Number(key) : key];
      if (key === '$ref') return { path: place, message: '$ref is not supported; write the schema out' };
      left.push({ value: inner, path: place });
    }
  }
  return null;
}

const InputSchema = z
  .looseObject({
    type: z.literal('object', { error: 'must be "object"' }),
    properties: z.record(z.string(), z.unknown()).nullish(),
    required: z.array(z.string()).nullish(),
  })
  .superRefine((schema, context) => {
    for (const key of TOP_LEVEL_REFUSED)
      if (key in schema) context.addIssue({ code: 'custom', path: [key], message: 'is not supported at the top level of input_schema' });
    for (const name of Object.keys(schema.properties ?? {})) {
      if (PROPERTY_NAME.test(name)) continue;
      context.addIssue({
        code: 'custom',
        path: ['properties', name],
        message: 'a property name has 1 to 64 letters, digits, "_", "." or "-"',
      });
    }
    const problem = findProblem(schema);
    if (problem) context.addIssue({ code: 'custom', ...problem });
  });

export interface CustomTool {
  type: 'custom';
  name: string;
  description: string;
  input_schema: {
    type: 'object';
    properties?: Record<string, unknown> | null;
    required?: string[] | null;
    [key: string]: unknown;
  };
}

/** `builtin`: names that are taken already. Resolved it looks as it was sent. */
export function customToolSchema(builtin: readonly string[]) {
  return z.strictObject({
    type: z.literal('custom'),
    name: z
      .string()
      .regex(NAME, 'must be 1 to 128 letters, digits, "_" or "-"')
      .refine((name) => !builtin.includes(name), 'is the name of a built-in tool; choose another')
      .refine((name) => !name.startsWith(RESERVED_PREFIX), `names that begin with ${RESERVED_PREFIX} are reserved; choose another`),
    description: z.string().refine((text) => text.trim() !== '', 'must not be empty'),
    input_schema: InputSchema,
  });
}
