/** Texts as they grow: the SDK's accumulator, kept by message, as its own examples do. */
import { type AccumulatedEvent, accumulateManagedAgentsEvent } from '@anthropic-ai/sdk/lib/sessions/accumulate';
import type { BetaManagedAgentsStreamSessionEvents } from '@anthropic-ai/sdk/resources/beta/sessions/events';

export interface Previews {
  /** The snapshot that the event changed, if it changed one. */
  add(event: BetaManagedAgentsStreamSessionEvents): AccumulatedEvent | undefined;
}

export function createPreviews(): Previews {
  const open = new Map<string, AccumulatedEvent>();
  return {
    add(event) {
      if (event.type === 'span.model_request_end') open.clear();
      if (event.type !== 'event_start' && event.type !== 'event_delta' && event.type !== 'agent.message') return undefined;
      const id = event.type === 'event_start' ? event.event.id : event.type === 'event_delta' ? event.event_id : event.id;
      const snapshot = accumulateManagedAgentsEvent(open.get(id), event);
      if (snapshot) open.set(id, snapshot);
      return snapshot;
    },
  };
}
