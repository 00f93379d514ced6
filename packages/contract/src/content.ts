/** Content blocks in events (CONTRACT 2.12). For now users send text; images and documents come with the files issue. */
import { z } from 'zod';

export const TextBlock = z.strictObject({ type: z.literal('text'), text: z.string() });
export type TextBlock = z.infer<typeof TextBlock>;

/** What a user message may hold for now. Other block kinds of the contract are refused with a reason. */
export const UserContent = z
  .array(
    z.discriminatedUnion('type', [TextBlock], {
      error: 'only text blocks are supported yet: {"type":"text","text":"…"}',
    }),
  )
  .min(1);
export type UserContent = z.infer<typeof UserContent>;

/** What a tool answers with. */
export const ToolContent = z.array(TextBlock);
export type ToolContent = z.infer<typeof ToolContent>;
