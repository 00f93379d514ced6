/** What the streams of the SDK from before 1.0 let through: asked of that SDK itself. */
import { Stream } from 'anthropic-sdk-legacy/streaming';

/** Of these kinds of events the ones that a program sees: such a stream knows the names of frames, and drops any other without a word. */
export async function kindsOnLegacyStreams(kinds: readonly string[]): Promise<string[]> {
  const frames = kinds.map((type) => `event: ${type}\ndata: ${JSON.stringify({ type })}\n\n`);
  const seen: string[] = [];
  for await (const { type } of Stream.fromSSEResponse<{ type: string }>(new Response(frames.join('')), new AbortController()))
    seen.push(type);
  return seen;
}
