/**
 * The conversation as the Messages API takes it. Thinking of models behind other kinds of endpoints carries no signature: the API refuses
 * such blocks, and no model misses them. Everything else is passed on unchanged, so that cached prefixes stay what they were.
 */
import type Anthropic from '@anthropic-ai/sdk';

export function sentBack(messages: readonly Anthropic.MessageParam[]): Anthropic.MessageParam[] {
  return messages.flatMap((message) => {
    if (message.role !== 'assistant' || typeof message.content === 'string') return [message];
    const content = message.content.filter((block) => block.type !== 'thinking' || block.signature !== '');
    if (content.length === message.content.length) return [message];
    return content.length > 0 ? [{ ...message, content }] : [];
  });
}
