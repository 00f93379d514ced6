/**
 * Events of one streamed answer, put together to a ModelResponse.
 *
 * Tolerant where endpoints differ: unknown events, blocks and deltas pass or are skipped, missing usage counts as 0. Strict where a
 * silent guess would lose content: a delta for a block that was never opened breaks the stream.
 */
import type Anthropic from '@anthropic-ai/sdk';
import { APIError } from '@anthropic-ai/sdk';
import { failure } from '../failure.ts';
import type { ModelBlockKind, ModelListener, ModelResponse, ModelUsageCounts } from '../model-client.ts';

const INVALID_INPUT_MAX_CHARS = 2000;

type Loose = Record<string, unknown>;
interface OpenBlock {
  /** Place in the answer; endpoints may number with gaps. */
  place: number;
  kind: ModelBlockKind;
  block: Loose;
  /** Collected `input_json_delta` text. */
  json: string;
}

const isObject = (value: unknown): value is Loose => typeof value === 'object' && value !== null && !Array.isArray(value);
const text = (value: unknown): string => (typeof value === 'string' ? value : '');

export interface StreamAssembler {
  /** Takes one event. Throws a ModelError or an APIError for an answer that cannot be used, and whatever the listener throws. */
  push(event: unknown): void;
  /** True once `message_stop` came. */
  readonly complete: boolean;
  /** True once the answer began; before that, an endpoint said nothing of use. */
  readonly started: boolean;
  finish(): ModelResponse;
}

export function createStreamAssembler(listener: ModelListener): StreamAssembler {
  let started = false;
  let complete = false;
  let id = '';
  let model = '';
  let stopReason: string | null = null;
  let stopDetails: Anthropic.RefusalStopDetails | null = null;
  const usage: Loose = {};
  const byIndex = new Map<number, OpenBlock>();
  const blocks: OpenBlock[] = [];

  function mergeUsage(counts: unknown): void {
    // message_delta repeats some counts as null: null never replaces a number.
    if (isObject(counts)) for (const [name, value] of Object.entries(counts)) if (value !== null) usage[name] = value;
  }

  function open(event: Loose): void {
    const index = Number(event['index']);
    if (!isObject(event['content_block']) || !Number.isInteger(index))
      throw failure('malformed', 'the model sent a content block that has no index or content');
    const block = { ...event['content_block'] };
    const entry: OpenBlock = { place: blocks.length, kind: kindOf(text(block['type'])), block, json: '' };
    byIndex.set(index, entry);
    blocks.push(entry);
    listener.onBlockStart(entry.place, entry.kind);
    if (entry.kind === 'text' && text(block['text']) !== '') listener.onText(entry.place, text(block['text']));
  }

  function extend(event: Loose): void {
    const entry = byIndex.get(Number(event['index']));
    if (!entry || !isObject(event['delta'])) throw failure('malformed', 'the model sent a delta for a content block that it never started');
    const { block } = entry;
    const delta = event['delta'];
    if (delta['type'] === 'text_delta') {
      const more = text(delta['text']);
      block['text'] = text(block['text']) + more;
      if (more !== '') listener.onText(entry.place, more);
    } else if (delta['type'] === 'input_json_delta') entry.json += text(delta['partial_json']);
    else if (delta['type'] === 'thinking_delta') block['thinking'] = text(block['thinking']) + text(delta['thinking']);
    else if (delta['type'] === 'signature_delta') block['signature'] = text(block['signature']) + text(delta['signature']);
    else if (delta['type'] === 'citations_delta')
      block['citations'] = [...(Array.isArray(block['citations']) ? block['citations'] : []), delta['citation']];
  }

  return {
    get complete() {
      return complete;
    },
    get started() {
      return started;
    },
    push(event) {
      if (!isObject(event)) throw failure('malformed', 'the model sent an event that is no JSON object');
      switch (event['type']) {
        case 'message_start': {
          const message = isObject(event['message']) ? event['message'] : {};
          started = true;
          id = text(message['id']);
          model = text(message['model']);
          mergeUsage(message['usage']);
          break;
        }
        case 'content_block_start':
          open(event);
          break;
        case 'content_block_delta':
          extend(event);
          break;
        case 'message_delta':
          if (isObject(event['delta']) && typeof event['delta']['stop_reason'] === 'string') stopReason = event['delta']['stop_reason'];
          if (isObject(event['delta'])) stopDetails = refusalDetails(event['delta']['stop_details']) ?? stopDetails;
          mergeUsage(event['usage']);
          break;
        case 'message_stop':
          complete = true;
          break;
        case 'error':
          throw new APIError(undefined, event, undefined, undefined, errorType(event));
        default:
        // ping, content_block_stop and kinds that are not known yet need nothing.
      }
    },
    finish() {
      const invalidInputs: Record<number, string> = {};
      const content = blocks.map(({ place, block, json }) => {
        if (block['type'] !== 'tool_use' && block['type'] !== 'server_tool_use') return block;
        const input = json === '' ? (block['input'] ?? {}) : parseObject(json);
        if (isObject(input)) return { ...block, input };
        if (block['type'] === 'tool_use')
          invalidInputs[place] = (json === '' ? JSON.stringify(input) : json).slice(0, INVALID_INPUT_MAX_CHARS);
        return { ...block, input: {} };
      });
      return {
        id,
        model,
        // Unknown kinds are passed on as they came; the types of the SDK cannot name them.
        content: content as unknown as Anthropic.ContentBlock[],
        stopReason: stopReason as Anthropic.StopReason | null,
        ...(stopDetails === null ? {} : { stopDetails }),
        usage: usageCounts(usage),
        invalidInputs,
      };
    },
  };
}

function kindOf(type: string): ModelBlockKind {
  if (type === 'text' || type === 'tool_use') return type;
  return type === 'thinking' || type === 'redacted_thinking' ? 'thinking' : 'other';
}

function refusalDetails(details: unknown): Anthropic.RefusalStopDetails | null {
  if (!isObject(details) || details['type'] !== 'refusal') return null;
  const category = typeof details['category'] === 'string' ? (details['category'] as Anthropic.RefusalStopDetails['category']) : null;
  return { type: 'refusal', category, explanation: typeof details['explanation'] === 'string' ? details['explanation'] : null };
}

function errorType(event: Loose): InstanceType<typeof APIError>['type'] {
  const type = isObject(event['error']) ? event['error']['type'] : null;
  return (typeof type === 'string' ? type : null) as InstanceType<typeof APIError>['type'];
}

function parseObject(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}

function usageCounts(usage: Loose): ModelUsageCounts {
  const count = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) && value > 0 ? Math.trunc(value) : 0);
  const created = count(usage['cache_creation_input_tokens']);
  const split = isObject(usage['cache_creation']) ? usage['cache_creation'] : null;
  const hour = count(split?.['ephemeral_1h_input_tokens']);
  return {
    input_tokens: count(usage['input_tokens']),
    output_tokens: count(usage['output_tokens']),
    cache_creation_input_tokens: created,
    cache_read_input_tokens: count(usage['cache_read_input_tokens']),
    // An endpoint that tells no split writes five-minute entries, the default.
    cache_creation_5m: split ? count(split['ephemeral_5m_input_tokens']) : created,
    cache_creation_1h: hour,
  };
}
