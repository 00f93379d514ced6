/** Programs of other people, unmodified. */
import type { Requirement } from './requirement.ts';

export const CLIENTS = {
  'clients.accumulator': {
    source: 'BEHAVIOUR 7',
    promise:
      "the SDK's accumulator, fed by a stream with previews, holds a beginning of each text at every step and the listed events at the end",
  },
  'clients.accumulator.cut': {
    source: 'BEHAVIOUR 7, CONTRACT 8 O',
    promise: 'a request that is cut and tried again leaves the accumulator with the beginnings of the same texts under other ids',
  },
  'clients.runner.parallel': {
    source: 'CONTRACT 6.3',
    promise: "the SDK's session tool runner serves several calls of one answer, and one that throws is an error result",
  },
  'clients.runner.reconnect': {
    source: 'CONTRACT 6.3',
    promise: 'the runner goes on after its gateway was killed: what it missed is served, what was answered meanwhile is not answered twice',
  },
  'clients.runner.archive': { source: 'CONTRACT 6.3', promise: 'the runner ends when the session is archived' },
  'clients.runner.idle': {
    source: 'CONTRACT 6.3, 7',
    promise: 'beside a sandbox the runner leaves its calls alone, and nothing that follows the last idle keeps it from ending',
  },
  'clients.chat': {
    source: 'CONTRACT 6.7, issue 4',
    promise:
      'a chat program written from the public documentation asks before commands, answers its own tool, loses its gateway and fetches the outputs',
  },
  'clients.ag_ui.sandbox': {
    source: 'BEHAVIOUR 10',
    promise: 'the adapter answers questions by its policy and shows what the sandbox said',
  },
  'clients.ag_ui.text': {
    source: 'issue 4',
    promise: 'the AG-UI adapter from npm tells turns as events of AG-UI in order, with texts in pieces, and goes on in the same session',
  },
  'clients.ag_ui.tools': {
    source: 'issue 4',
    promise:
      'tools of the frontend and of the server join those of the agent; a frontend answers in a later run, alone, in parts or with a message',
  },
  'clients.ag_ui.parked': {
    source: 'BEHAVIOUR 8',
    promise: 'the adapter knows our refusal of messages to a session that waits, and tries again until it is taken',
  },
  'clients.ag_ui.interrupt': {
    source: 'BEHAVIOUR 8',
    promise: 'a run that is stopped interrupts its session, and the next run goes on',
  },
  'clients.ag_ui.errors': {
    source: 'BEHAVIOUR 26, 10',
    promise:
      'a turn without retries left is a run error that names its cause, and so is a question that nobody answers; the thread goes on',
  },
} as const satisfies Record<string, Requirement>;
