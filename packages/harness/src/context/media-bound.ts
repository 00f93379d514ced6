/**
 * Keeps the images and documents of a conversation within what one request may carry: the oldest give way to a note. Half of the room is
 * made at once, so that the prompt's prefix, and with it the cache, changes seldom.
 */
import type Anthropic from '@anthropic-ai/sdk';
import type { ContextMessage } from './context.ts';

/** Together with the text, less than the 32 MB that the Messages API takes. */
const MEDIA_MAX_CHARS = 28 * 1024 * 1024;
const COUNT_MAX = { image: 100, document: 100 } as const;

type Kind = keyof typeof COUNT_MAX;
type Media = Extract<Anthropic.ContentBlockParam, { type: Kind }>;
interface Place {
  blocks: Anthropic.ContentBlockParam[];
  at: number;
  block: Media;
  chars: number;
}

function isMedia(block: { type: string }): block is Media {
  return block.type === 'image' || block.type === 'document';
}

/** Every image and document, oldest first. */
function* mediaOf(blocks: Anthropic.ContentBlockParam[]): Generator<Place> {
  for (const [at, block] of blocks.entries()) {
    if (isMedia(block)) yield { blocks, at, block, chars: 'data' in block.source ? block.source.data.length : 0 };
    else if (block.type === 'tool_result' && Array.isArray(block.content)) yield* mediaOf(block.content as Anthropic.ContentBlockParam[]);
  }
}

/** Whether there is an image or a document, also in a result. */
export function holdsMedia(blocks: Anthropic.ContentBlockParam[]): boolean {
  return mediaOf(blocks).next().done !== true;
}

/** Changes the messages in place. */
export function boundMedia(messages: ContextMessage[]): void {
  const places = messages.flatMap(({ content }) => [...mediaOf(content)]);
  let chars = places.reduce((sum, place) => sum + place.chars, 0);
  const count = { image: 0, document: 0 };
  for (const { block } of places) count[block.type]++;
  const over = { chars: chars > MEDIA_MAX_CHARS, image: count.image > COUNT_MAX.image, document: count.document > COUNT_MAX.document };
  for (const { blocks, at, block, chars: size } of places) {
    const { type } = block;
    const go = (over.chars && size > 0 && chars > MEDIA_MAX_CHARS / 2) || (over[type] && count[type] > COUNT_MAX[type] / 2);
    if (!go) continue;
    blocks[at] = { type: 'text', text: `[An earlier ${type} was left out here to keep the request small.]` };
    chars -= size;
    count[type]--;
  }
}
