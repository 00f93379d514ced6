/**
 * How much of a model's context window a conversation takes. What the endpoint counted for the last request is exact; what came since is
 * estimated, rather too high than too low for text. An estimate that was too low shows as a failure `context_window`, which is mended the
 * same way.
 */
import type Anthropic from '@anthropic-ai/sdk';
import type { ContextMessage } from './context.ts';

type Block = Anthropic.ContentBlockParam;

const CHARS_PER_TOKEN = 3;
const IMAGE_TOKENS = 1_600;
const DOCUMENT_MIN_TOKENS = 2_000;
const DOCUMENT_MAX_TOKENS = 100_000;
/** A page of a document is a few thousand tokens and some hundred thousand characters at most. */
const DOCUMENT_CHARS_PER_TOKEN = 40;

function textTokens(text: string): number {
  return Math.ceil(text.length / CHARS_PER_TOKEN);
}

function blockTokens(block: Block): number {
  switch (block.type) {
    case 'text':
      return textTokens(block.text);
    case 'image':
      return IMAGE_TOKENS;
    case 'document': {
      const { source } = block;
      if (source.type === 'text') return textTokens(source.data);
      const chars = source.type === 'base64' ? source.data.length : 0;
      return Math.min(DOCUMENT_MAX_TOKENS, Math.max(DOCUMENT_MIN_TOKENS, Math.ceil(chars / DOCUMENT_CHARS_PER_TOKEN)));
    }
    case 'tool_result':
      return Array.isArray(block.content) ? tokensOf(block.content as Block[]) : textTokens(block.content ?? '');
    default:
      return textTokens(JSON.stringify(block));
  }
}

export function tokensOf(blocks: readonly Block[]): number {
  return blocks.reduce((sum, block) => sum + blockTokens(block), 0);
}
export function messageTokens(messages: readonly ContextMessage[]): number {
  return messages.reduce((sum, { content }) => sum + tokensOf(content), 0);
}
