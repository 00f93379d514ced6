/**
 * Token counts and cache accounting as the API does it: a mark writes the prefix that ends there; a later request reads the longest
 * prefix that was written at one of its marks, or up to 20 blocks before one. Entries live 5 minutes or 1 hour, from their last use,
 * in this process only.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '@manyhands/base';
import { type Block, blocksOf } from './conversation.ts';
import type { CheckedRequest } from './dialects/request-checks.ts';

const LOOKBACK_BLOCKS = 20;
const TTL_MS = { '5m': 300_000, '1h': 3_600_000 } as const;
const ENTRIES_MAX = 20_000;
/** Roughly what a token is in English text. */
const BYTES_PER_TOKEN = 4;

export interface PromptUsage {
  input_tokens: number;
  cache_creation_input_tokens: number;
  cache_read_input_tokens: number;
  cache_creation: { ephemeral_5m_input_tokens: number; ephemeral_1h_input_tokens: number };
}
export interface PromptCache {
  /** Counts a prompt, and uses and fills the cache by its marks. */
  account(request: CheckedRequest): PromptUsage;
}

export function textTokens(text: string): number {
  return text === '' ? 0 : Math.max(1, Math.ceil(Buffer.byteLength(text) / BYTES_PER_TOKEN));
}

interface Piece {
  /** Hash of the prompt up to and with this piece. */
  prefix: string;
  /** Tokens up to and with this piece. */
  tokens: number;
  mark: '5m' | '1h' | null;
}

/** Tokens of the whole prompt, marks or not. */
export function promptTokens(request: CheckedRequest): number {
  return piecesOf(request).at(-1)?.tokens ?? 0;
}

export function createPromptCache(clock: Clock): PromptCache {
  /** Prefix hash to the time it ends; the order of the map is the order of use. */
  const entries = new Map<string, { endsAt: number; ttlMs: number }>();

  function touch(prefix: string, ttlMs: number, now: number): void {
    entries.delete(prefix);
    entries.set(prefix, { endsAt: now + ttlMs, ttlMs });
    if (entries.size > ENTRIES_MAX) entries.delete(entries.keys().next().value!);
  }

  return {
    account(request) {
      const now = clock.now();
      const pieces = piecesOf(request);
      const total = pieces.at(-1)?.tokens ?? 0;
      let read = 0;
      let readAt = -1;
      for (let at = pieces.length - 1; at >= 0 && readAt < 0; at--) {
        if (!pieces[at]!.mark) continue;
        for (let back = at; back >= 0 && at - back <= LOOKBACK_BLOCKS; back--) {
          const entry = entries.get(pieces[back]!.prefix);
          if (!entry || entry.endsAt < now) continue;
          touch(pieces[back]!.prefix, entry.ttlMs, now);
          read = pieces[back]!.tokens;
          readAt = back;
          break;
        }
      }
      const created = { '5m': 0, '1h': 0 };
      let counted = read;
      pieces.forEach((piece, at) => {
        if (!piece.mark || at <= readAt) return;
        created[piece.mark] += piece.tokens - counted;
        counted = piece.tokens;
        touch(piece.prefix, TTL_MS[piece.mark], now);
      });
      return {
        input_tokens: total - counted,
        cache_creation_input_tokens: created['5m'] + created['1h'],
        cache_read_input_tokens: read,
        cache_creation: { ephemeral_5m_input_tokens: created['5m'], ephemeral_1h_input_tokens: created['1h'] },
      };
    },
  };
}

/** The prompt in the order in which the API caches it: tools, system, messages. */
function piecesOf(request: CheckedRequest): Piece[] {
  const pieces: Piece[] = [];
  let prefix = request.model;
  let tokens = 0;
  const add = (where: string, block: Record<string, unknown>): void => {
    // Where marks stand does not change a prompt, so that they can move on.
    const plain = JSON.stringify(block, (key, value: unknown) => (key === 'cache_control' ? undefined : value));
    prefix = createHash('sha1').update(prefix).update(where).update(plain).digest('base64');
    tokens += textTokens(plain);
    pieces.push({ prefix, tokens, mark: markOf(block) });
  };
  for (const tool of (request.body['tools'] as Block[] | undefined) ?? []) add('tool', tool);
  for (const block of blocksOf(request.body['system'])) add('system', block);
  for (const run of request.runs) for (const block of run.blocks) add(run.role, block);
  return pieces;
}

function markOf(block: Record<string, unknown>): '5m' | '1h' | null {
  const inner = Array.isArray(block['content']) ? (block['content'] as Block[]).findLast((part) => part['cache_control']) : undefined;
  const mark = (block['cache_control'] ?? inner?.['cache_control']) as { ttl?: '5m' | '1h' } | null | undefined;
  return mark ? (mark.ttl ?? '5m') : null;
}
