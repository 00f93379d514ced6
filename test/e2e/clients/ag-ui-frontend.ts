/**
 * A frontend of AG-UI: one thread with its messages, and what each run told it. The adapter and the client are those of npm, unmodified;
 * `runAgent` refuses events that break the AG-UI protocol, and folds the others into the messages.
 */
import { randomUUID } from 'node:crypto';
import { ManagedAgentsAgent } from '@ag-ui/claude-managed-agents';
import { type BaseEvent, EventType, type Message, type Tool } from '@ag-ui/client';

export type AdapterConfig = ConstructorParameters<typeof ManagedAgentsAgent>[0];
export type FrontendTool = Tool;

/** Any event, with the fields that the tests look at. */
export interface RunEvent extends BaseEvent {
  messageId?: string;
  toolCallId?: string;
  toolCallName?: string;
  delta?: string;
  content?: string;
  code?: string;
  message?: string;
  value?: { sessionId: string };
}

export interface Frontend {
  readonly messages: readonly Message[];
  /** The session behind the thread, as the adapter told it in the first run. */
  readonly sessionId: string;
  /** One run, after these messages; resolves to its events when it is over. `onEvent` sees each as it comes. */
  run(say: readonly FrontendMessage[], options?: RunOptions): Promise<RunEvent[]>;
  /** What a user's stop button does. */
  abort(): void;
}
export type FrontendMessage = { text: string } | { answers: string; content: string; error?: string };
export interface RunOptions {
  tools?: FrontendTool[];
  onEvent?: (event: RunEvent) => void;
}

export function createFrontend(config: AdapterConfig): Frontend {
  const agent = new ManagedAgentsAgent(config);
  let sessionId = '';
  return {
    get messages() {
      return agent.messages;
    },
    get sessionId() {
      return sessionId;
    },
    async run(say, { tools = [], onEvent } = {}) {
      for (const message of say) agent.addMessage(messageOf(message));
      const events: RunEvent[] = [];
      await agent.runAgent(
        { runId: randomUUID(), tools },
        {
          onEvent({ event }) {
            events.push(event);
            if (event.type === EventType.CUSTOM) sessionId = (event as RunEvent).value!.sessionId;
            onEvent?.(event);
          },
        },
      );
      return events;
    },
    abort: () => agent.abortRun(),
  };
}

function messageOf(message: FrontendMessage): Message {
  const id = randomUUID();
  if ('text' in message) return { id, role: 'user', content: message.text };
  const { answers: toolCallId, content, error } = message;
  return { id, role: 'tool', toolCallId, content, ...(error === undefined ? {} : { error }) };
}

/** The kinds of events in order; a text that comes in several pieces counts once. */
export function kinds(events: readonly RunEvent[]): string[] {
  return events.map(({ type }) => type).filter((type, at, all) => type !== EventType.TEXT_MESSAGE_CONTENT || type !== all[at - 1]);
}

/** The pieces of text that were told, in order. */
export function pieces(events: readonly RunEvent[]): string[] {
  return events.flatMap(({ type, delta }) => (type === EventType.TEXT_MESSAGE_CONTENT ? [delta ?? ''] : []));
}
