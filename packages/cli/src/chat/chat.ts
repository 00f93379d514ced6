/** `manyhands chat`: a conversation in the terminal, or line by line through a pipe. */
import { createInterface } from 'node:readline';
import type { ReadStream } from 'node:tty';
import Anthropic from '@anthropic-ai/sdk';
import { errorText } from '../error-text.ts';
import { type ConnectionOptions, findInstance } from '../instance.ts';
import type { Surroundings } from '../surroundings.ts';
import { PlainError, UsageError } from '../usage-error.ts';
import { createChatSession } from './chat-session.ts';
import { type Conversation, openConversation } from './conversation.ts';
import { plainRenderer, type Renderer, terminalRenderer } from './renderer.ts';
import { createTerminalInput } from './terminal-input.ts';

export interface ChatOptions extends ConnectionOptions {
  model?: string;
  system?: string;
  session?: string;
  plain?: boolean;
}

/** A gateway that is restarted is back in a second or two. */
const MAX_RETRIES = 5;
const AGAIN_MS = 2_000;

export async function chat(options: ChatOptions, surroundings: Surroundings): Promise<void> {
  if (options.session !== undefined && (options.model !== undefined || options.system !== undefined))
    throw new UsageError('--session: the session has its own model and system prompt. Leave out --model and --system.');
  const { url, apiKey } = findInstance(options, surroundings);
  const client = new Anthropic({ baseURL: url, apiKey, maxRetries: MAX_RETRIES });
  const { stdin, stdout, stderr } = surroundings;
  const interactive = stdin.isTTY === true && stdout.isTTY === true && !options.plain;
  const renderer = interactive ? terminalRenderer(stdout) : plainRenderer(stdout, stderr);

  let opening: Promise<Conversation> | null = null;
  /** Made with the first message, so that looking in leaves nothing behind. */
  function conversation(): Promise<Conversation> {
    opening ??= (async () => {
      const sessionId = options.session ?? (await createChatSession(client, { model: options.model, system: options.system }));
      return openConversation({ client, sessionId, listener: renderer, history: interactive && options.session !== undefined });
    })();
    return opening;
  }

  if (interactive) await converse(surroundings, renderer, conversation, options.session !== undefined);
  else await answerLines(surroundings, renderer, conversation);
  const last = await (opening as Promise<Conversation> | null)?.catch(() => null);
  last?.close();
  if (interactive && last) stdout.write(`Go on with: manyhands chat --session ${last.sessionId}\n`);
}

/** Each line is a message; at the end of the input the last answer has been given. */
async function answerLines({ stdin }: Surroundings, renderer: Renderer, conversation: () => Promise<Conversation>): Promise<void> {
  let current: Conversation | null = null;
  let stops = 0;
  const onInterrupt = () => {
    if (++stops > 1 || !current?.busy) process.exit(130);
    current.interrupt().catch((error: unknown) => renderer.notice(errorText(error)));
  };
  process.on('SIGINT', onInterrupt);
  try {
    for await (const line of createInterface({ input: stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
      if (line.trim() === '') continue;
      current = await conversation();
      await current.untilIdle();
      stops = 0;
      const end = await current.send(line);
      if (end === 'terminated') throw new PlainError(`The session ${current.sessionId} has ended.`);
      if (end !== 'end_turn') renderer.notice(`stopped: ${end}`);
    }
  } finally {
    process.off('SIGINT', onInterrupt);
  }
}

async function converse(
  { stdin, stdout }: Surroundings,
  renderer: Renderer,
  conversation: () => Promise<Conversation>,
  goOn: boolean,
): Promise<void> {
  const input = createTerminalInput(stdin as ReadStream, stdout);
  stdout.write('Esc stops an answer, Ctrl-D ends.\n');
  if (goOn) {
    const current = await conversation();
    if (current.busy && !(await attended(() => current.untilIdle(), current))) return;
  }
  let askedToEndMs = Number.NEGATIVE_INFINITY;
  for (;;) {
    const answer = await input.ask('> ');
    if (answer.type === 'end') return;
    if (answer.type === 'ctrl-c') {
      if (performance.now() - askedToEndMs < AGAIN_MS) return;
      askedToEndMs = performance.now();
      stdout.write('Ctrl-C again ends.\n');
      continue;
    }
    const text = answer.text.trim();
    if (text === '') continue;
    try {
      renderer.waiting('…');
      const current = await conversation();
      const goesOn = await attended(async () => {
        const end = await current.send(text);
        if (end === 'terminated') throw new PlainError(`The session ${current.sessionId} has ended.`);
        if (end !== 'end_turn') renderer.notice(`stopped: ${end}`);
      }, current);
      if (!goesOn) return;
    } catch (error) {
      if (error instanceof PlainError) throw error;
      renderer.notice(errorText(error));
    }
  }

  /** Lets the user stop the work, or leave: then the answer is false and the work goes on without us. */
  async function attended(work: () => Promise<void>, current: Conversation): Promise<boolean> {
    let leave: () => void = () => {};
    const left = new Promise<false>((resolve) => {
      leave = () => resolve(false);
    });
    let stopped = false;
    const unwatch = input.watchKeys((key) => {
      if (key === 'end' || stopped) {
        leave();
        return;
      }
      stopped = true;
      renderer.notice('stopping; once more leaves');
      current.interrupt().catch((error: unknown) => renderer.notice(errorText(error)));
    });
    try {
      const working = work();
      working.catch(() => {}); // Told by the race, unless the user has left.
      return await Promise.race([working.then(() => true), left]);
    } finally {
      unwatch();
    }
  }
}
