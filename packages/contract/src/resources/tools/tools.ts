/**
 * The built-in tools and the input each takes from the model (CONTRACT 4.2). `hand` and the harness parse inputs with the same schemas.
 */
import { z } from 'zod';

export const SANDBOX_TOOLS = ['bash', 'read', 'write', 'edit', 'glob', 'grep'] as const;
export type SandboxTool = (typeof SANDBOX_TOOLS)[number];
export const WEB_TOOLS = ['web_fetch', 'web_search'] as const;
export type WebTool = (typeof WEB_TOOLS)[number];
export const BUILTIN_TOOLS = [...SANDBOX_TOOLS, ...WEB_TOOLS] as const;
export type BuiltinTool = (typeof BUILTIN_TOOLS)[number];

export function isSandboxTool(name: string): name is SandboxTool {
  return (SANDBOX_TOOLS as readonly string[]).includes(name);
}

/** What search providers take at most. */
export const SEARCH_QUERY_MAX_CHARS = 400;

/** What the model sends to each tool (CONTRACT 4.2). `timeout_ms` is in milliseconds. */
export const TOOL_INPUT = {
  bash: z
    .strictObject({
      command: z.string().optional(),
      restart: z.boolean().optional(),
      timeout_ms: z.int().min(1).max(3_600_000).optional(),
    })
    .refine((input) => input.restart === true || (input.command ?? '') !== '', {
      message: 'is required unless restart is true',
      path: ['command'],
    }),
  read: z.strictObject({
    file_path: z.string().min(1),
    view_range: z.tuple([z.int(), z.int()], { error: 'must be [start_line, end_line]' }).optional(),
  }),
  write: z.strictObject({ file_path: z.string().min(1), content: z.string() }),
  edit: z.strictObject({
    file_path: z.string().min(1),
    old_string: z.string().min(1),
    new_string: z.string(),
    replace_all: z.boolean().optional(),
  }),
  glob: z.strictObject({ pattern: z.string().min(1), path: z.string().optional() }),
  grep: z.strictObject({ pattern: z.string().min(1), path: z.string().optional() }),
  web_fetch: z.strictObject({ url: z.url({ protocol: /^https?$/ }) }),
  web_search: z.strictObject({ query: z.string().trim().min(1).max(SEARCH_QUERY_MAX_CHARS) }),
} as const;
export type ToolInput<T extends BuiltinTool> = z.infer<(typeof TOOL_INPUT)[T]>;
