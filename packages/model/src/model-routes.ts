/**
 * The configuration of model routing: which model ids go to which upstream, and who stands in when one cannot answer.
 *
 *     {
 *       "upstreams": {
 *         "anthropic": { "kind": "anthropic", "base_url": "https://api.anthropic.com", "api_key_env": "ANTHROPIC_API_KEY" },
 *         "local": { "kind": "openai", "base_url": "http://127.0.0.1:11434/v1" }
 *       },
 *       "default_upstream": "anthropic",
 *       "models": {
 *         "claude-opus-4-8": { "fallback": ["claude-sonnet-5", "small"] },
 *         "small": { "upstream": "local", "model": "qwen3:8b", "context_window": 32768, "max_output": 8192 },
 *         "qwen*": { "upstream": "local" }
 *       }
 *     }
 *
 * Keys are named, never written: a configuration may be shown and kept in a repository. Messages name the field and never repeat a value (I7).
 */
import { AppError } from '@manyhands/base';
import { z } from 'zod';

const Name = z.string().regex(/^[a-z0-9][a-z0-9_-]{0,63}$/, 'must be lower case letters, digits, - and _');
const ModelId = z.string().regex(/^[\x21-\x7e]{1,256}$/, 'must be a model id: 1 to 256 visible characters without spaces');
const Milliseconds = z.number().int().min(1).max(86_400_000);
const Tokens = z.number().int().min(1).max(100_000_000);
const EnvName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be the name of an environment variable, not the key itself');

const key = {
  /** The environment variable that holds the key. */
  api_key_env: EnvName.optional(),
  /** A file that holds the key. */
  api_key_file: z.string().min(1).optional(),
};
const AnthropicUpstream = z.strictObject({
  kind: z.literal('anthropic'),
  base_url: z.string(),
  ...key,
  stall_timeout_ms: Milliseconds.optional(),
});
const OpenAiUpstream = z.strictObject({
  kind: z.literal('openai'),
  base_url: z.string(),
  ...key,
  /** Whether its models take images; default true. */
  images: z.boolean().optional(),
  max_tokens_field: z.enum(['max_tokens', 'max_completion_tokens']).optional(),
  connect_timeout_ms: Milliseconds.optional(),
  first_token_timeout_ms: Milliseconds.optional(),
  stall_timeout_ms: Milliseconds.optional(),
});
const Upstream = z.discriminatedUnion('kind', [AnthropicUpstream, OpenAiUpstream]);
export type ModelUpstream = z.infer<typeof Upstream>;

const ModelRoute = z.strictObject({
  /** Default: `default_upstream`. */
  upstream: Name.optional(),
  /** How the upstream calls it, if not by its id. */
  model: ModelId.optional(),
  /** Tokens that prompt and answer may have together. */
  context_window: Tokens.optional(),
  /** Tokens that an answer may have; requests for more are lowered to it. */
  max_output: Tokens.optional(),
  /** Model ids to ask, in order, while this one is overloaded or cannot be reached. */
  fallback: z.array(ModelId).max(8).optional(),
  /** Tries before the next one of the chain is asked; default 2. */
  attempts: z.number().int().min(1).max(10).optional(),
});
export type ModelRoute = z.infer<typeof ModelRoute>;

export const ModelRoutes = z
  .strictObject({
    upstreams: z.record(Name, Upstream),
    default_upstream: Name,
    /** By model id; an id that ends in `*` stands for all that begin so. */
    models: z.record(ModelId, ModelRoute).default({}),
    /** How long a model that failed is passed over where its chain has others; default 30 s. */
    cooldown_ms: z.number().int().min(0).max(3_600_000).optional(),
  })
  .superRefine((routes, context) => {
    const problem = (path: (string | number)[], message: string) => context.addIssue({ code: 'custom', path, message });
    const known = Object.keys(routes.upstreams).join(', ');
    if (!routes.upstreams[routes.default_upstream]) problem(['default_upstream'], `names no upstream; there are: ${known}`);
    for (const [name, upstream] of Object.entries(routes.upstreams)) {
      if (upstream.api_key_env !== undefined && upstream.api_key_file !== undefined)
        problem(['upstreams', name, 'api_key_file'], 'give the key by api_key_env or by api_key_file, not both');
    }
    for (const [id, route] of Object.entries(routes.models)) {
      const at = (field: string): (string | number)[] => ['models', id, field];
      if (id.slice(0, -1).includes('*')) problem(['models', id], 'may hold * at its end only');
      if (route.upstream !== undefined && !routes.upstreams[route.upstream])
        problem(at('upstream'), `names no upstream; there are: ${known}`);
      if (id.endsWith('*') && route.model !== undefined) problem(at('model'), 'cannot be given for a pattern: it would rename every model');
      const seen = new Set([id]);
      route.fallback?.forEach((other, index) => {
        if (other.includes('*')) problem([...at('fallback'), index], 'must be one model id, not a pattern');
        else if (seen.has(other)) problem([...at('fallback'), index], 'names a model that the chain holds already');
        seen.add(other);
      });
      if (route.max_output !== undefined && route.context_window !== undefined && route.max_output > route.context_window)
        problem(at('max_output'), 'must not be more than context_window');
    }
  });
export type ModelRoutes = z.infer<typeof ModelRoutes>;

/** `name` says where the text was found, such as the variable or the file. */
export function parseModelRoutes(text: string, name: string): ModelRoutes {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text.
    throw new AppError('configuration', `${name} is not valid JSON`);
  }
  const parsed = ModelRoutes.safeParse(json);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => `  ${issue.path.join('.') || '(whole)'}: ${remedy(issue)}`);
  throw new AppError('configuration', `${name} cannot be used:\n${problems.join('\n')}`);
}

function remedy(issue: z.core.$ZodIssue): string {
  if (issue.code === 'unrecognized_keys' && issue.keys.includes('api_key'))
    return 'api_key is not taken, so that no key stands in a configuration: name its variable in api_key_env or its file in api_key_file';
  if (issue.code === 'invalid_union') return 'kind must be "anthropic" or "openai"';
  return issue.message;
}
