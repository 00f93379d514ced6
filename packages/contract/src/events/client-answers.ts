/**
 * What clients answer to calls of the agent, and what they add to its system text (CONTRACT 3.1, 4.4; BEHAVIOUR 6, 10, 11).
 *
 * An answer names its call by the id of the use event. Which answers are taken is decided where the log is written: the first one wins.
 */
import { z } from 'zod';
import { DocumentBlock, ImageBlock, SearchResultBlock, TextBlock } from './content.ts';

const SYSTEM_BLOCKS_MAX = 1000;
const DENY_MESSAGE_MAX_CHARS = 10_000;

/** As JSON carries it: what is left out is not there at all. */
type AsSent<T> = T extends readonly (infer Item)[]
  ? AsSent<Item>[]
  : T extends object
    ? { [K in keyof T]: AsSent<Exclude<T[K], undefined>> }
    : T;

/** What a client's tool answers with: more than built-in tools can. */
export const ClientToolContent = z.array(
  z.discriminatedUnion('type', [TextBlock, ImageBlock, DocumentBlock, SearchResultBlock], {
    error: 'must be a block of type text, image, document or search_result',
  }),
);
export type ClientToolContent = AsSent<z.infer<typeof ClientToolContent>>;

export const ToolConfirmationIn = z
  .strictObject({
    type: z.literal('user.tool_confirmation'),
    tool_use_id: z.string(),
    result: z.enum(['allow', 'deny']),
    deny_message: z.string().max(DENY_MESSAGE_MAX_CHARS).nullish(),
  })
  .refine(({ result, deny_message }) => result === 'deny' || typeof deny_message !== 'string', {
    path: ['deny_message'],
    message: 'is only allowed when result is "deny"',
  });

export const CustomToolResultIn = z.strictObject({
  type: z.literal('user.custom_tool_result'),
  custom_tool_use_id: z.string(),
  content: ClientToolContent.optional(),
  is_error: z.boolean().nullish(),
});

export const SystemMessageIn = z.strictObject({
  type: z.literal('system.message'),
  content: z
    .array(z.strictObject({ type: z.literal('text'), text: z.string() }))
    .min(1)
    .max(SYSTEM_BLOCKS_MAX),
});

/** The kinds of event that a system message may follow in its request. */
const ACCOMPANIED = new Set(['user.message', 'user.tool_result', 'user.custom_tool_result']);

/** What one event of a request cannot know about the others. */
export function checkSystemMessages(events: readonly { type: string }[], context: z.RefinementCtx): void {
  for (const [at, { type }] of events.entries()) {
    if (type !== 'system.message') continue;
    const refuse = (message: string) => context.addIssue({ code: 'custom', path: [at], message });
    if (at !== events.length - 1) refuse('a system.message must be the last event of its request, and there is at most one');
    else if (!ACCOMPANIED.has(events[at - 1]?.type ?? ''))
      refuse('a system.message must directly follow the user.message or user.custom_tool_result that it accompanies');
  }
}

/** Models that take system turns inside the conversation, by family and the first version that does. */
const SYSTEM_TURNS_SINCE: Readonly<Record<string, readonly [number, number]>> = { opus: [4, 8], fable: [5, 0], mythos: [5, 0] };
const CLAUDE = /^(?:[a-z]+[./])*claude-([a-z]+)-(\d+)(?:-(\d{1,2})(?!\d))?/;

/**
 * How a model is given a system message: as a turn of its own, or in words inside the user turn. Claude models before those that take such
 * turns get none: the contract refuses it. Of other models nothing is known, and words reach every one.
 */
export function systemTurns(modelId: string): 'turn' | 'text' | 'refused' {
  if (!modelId.includes('claude')) return 'text';
  const [, family = '', major = '0', minor = '0'] = CLAUDE.exec(modelId) ?? [];
  const since = SYSTEM_TURNS_SINCE[family];
  if (!since) return 'refused';
  return Number(major) > since[0] || (Number(major) === since[0] && Number(minor) >= since[1]) ? 'turn' : 'refused';
}
