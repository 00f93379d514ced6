/** What an agent does with an event: turns, interrupts, retries, permissions, context, money. */
import type { Requirement } from './requirement.ts';

export const TURNS = {
  'turn.order': {
    source: 'BEHAVIOUR 6, CONTRACT 8 I',
    promise: 'a turn tells its events in the documented order; the list is the stream with queued input shown once',
  },
  'turn.events': { source: 'CONTRACT 3.2', promise: 'every event of a turn has exactly the fields of its kind' },
  'turn.status_true': { source: 'I6', promise: 'when idle is on the stream, GET says idle, for the session and its thread' },
  'turn.initial_events': { source: 'CONTRACT SE-1', promise: 'initial events are worked off in order as one turn' },
  'turn.queued': {
    source: 'CONTRACT 8 L',
    promise: 'messages sent meanwhile wait with no time, then are taken up one at a time with no idle between',
  },
  'turn.many': { source: 'issue 2', promise: 'many sessions at once all end, each with its own answer' },
  'turn.blocks': {
    source: 'CONTRACT 3.2',
    promise: 'thinking is a marker without content and goes back to the model signed; each text is a message',
  },
  'turn.empty': { source: 'BEHAVIOUR 6', promise: 'an answer without text ends the turn and harms nothing' },
  'turn.blank': { source: 'I5', promise: 'a message of blanks ends in idle and harms nothing' },
  'interrupt.model': {
    source: 'BEHAVIOUR 8',
    promise: 'an interrupt stops a streaming model, closes its span, and the turn ends with end_turn',
  },
  'interrupt.redirect': { source: 'BEHAVIOUR 8', promise: 'an interrupt with a message behind it redirects the agent' },
  'interrupt.queued': { source: 'BEHAVIOUR 8, CONTRACT 8 L', promise: 'an interrupt jumps the queue and ends the current message only' },
  'interrupt.waiting': { source: 'BEHAVIOUR 8', promise: 'an interrupt ends the waiting for a retry at once' },
  'interrupt.before': { source: 'BEHAVIOUR 8', promise: 'a message interrupted before it was taken up is never put to the model' },
  'interrupt.idle': { source: 'BEHAVIOUR 8', promise: 'an interrupt of an idle session does nothing to what follows' },
  'retry.success': { source: 'CONTRACT 3.3', promise: 'a passing failure of any kind is told, tried again, and the turn goes on' },
  'retry.rescheduling': {
    source: 'CONTRACT 2.2',
    promise: 'a session that waits for a retry says rescheduling, and waits as long as the model asked',
  },
  'retry.exhausted': {
    source: 'CONTRACT 3.3, 8 L',
    promise: 'after the last retry the turn ends with retries_exhausted, queued input is flushed and kept, a new message works',
  },
  'retry.hopeless': { source: 'CONTRACT 3.3', promise: 'a failure that no retry can mend ends the turn at once, with its reason' },
  'usage.sums': {
    source: 'BEHAVIOUR 25',
    promise: 'usage is the sum of the spans, told before every idle, the same for session and thread',
  },
  'usage.cache': { source: 'issue 2', promise: 'every model request reads from the cache what the one before wrote' },
  'prompt.agent': {
    source: 'CONTRACT 2.1',
    promise: 'model, effort, system text and enabled tools of the agent reach the model, and nothing else',
  },
  'permissions.ask': {
    source: 'BEHAVIOUR 10, CONTRACT 4.4',
    promise: 'a call under always_ask parks the session, and runs once and only after the client allowed it',
  },
  'permissions.deny': {
    source: 'BEHAVIOUR 10, CONTRACT 4.4',
    promise: 'a call that the client denied never runs, and the model is told why',
  },
  'permissions.parallel': {
    source: 'BEHAVIOUR 10, CONTRACT 3.2',
    promise:
      'of parallel calls the allowed ones run at once, idle is told again with the rest, and the confirmed ones run when all are resolved',
  },
  'permissions.refusals': {
    source: 'CONTRACT 4.4, 8.10, BEHAVIOUR 6',
    promise: 'an answer to what was not asked is refused by name; the first answer wins and is told again to whoever repeats it',
  },
  'permissions.auto': {
    source: 'BEHAVIOUR 10',
    promise: 'under auto a judgement allows, denies or asks, asks when in doubt, and is counted in the usage',
  },
  'permissions.sandbox_gone': {
    source: 'I4, BEHAVIOUR 10',
    promise: 'a call confirmed after its sandbox was let go runs in a new one, with the files of the old: what never began was not lost',
  },
  'custom.round_trip': {
    source: 'BEHAVIOUR 11, CONTRACT 3.1',
    promise: 'the model sees the definition of a custom tool, the client its call, and the model the answer',
  },
  'custom.early': { source: 'BEHAVIOUR 11', promise: 'answers may be sent as soon as the call is seen, and none is lost' },
  'custom.content': { source: 'CONTRACT 2.12', promise: 'text, images, documents, search results and errors reach the model as they are' },
  'custom.parallel': {
    source: 'CONTRACT 3.2, BEHAVIOUR 11',
    promise:
      'calls of all kinds side by side: idle names those that wait, in order, again after each answer, and the model gets all results',
  },
  'custom.repeated': {
    source: 'CONTRACT 8.10, 6.3',
    promise: 'of many answers to one call the first wins and each sender is told it, at any time later too',
  },
  'custom.refusals': {
    source: 'CONTRACT 4.4, 8.10',
    promise: 'answers of the wrong kind, to nothing, or too late are refused with the reason',
  },
  'custom.runner': { source: 'CONTRACT 6.3', promise: 'the session tool runner of the SDK serves the calls of a session, unmodified' },
  'parked.messages': {
    source: 'BEHAVIOUR 8, CONTRACT 3.1',
    promise: 'a parked session refuses messages, names what it waits for, and takes them behind the last answer',
  },
  'parked.partial': {
    source: 'BEHAVIOUR 5.7, I9',
    promise: 'results that leave other calls open tell idle again at once, with the rest: the session stays idle, and no worker is needed',
  },
  'parked.rest': { source: 'I9', promise: 'a parked session has no worker, no lease and no mark, and outlives every worker' },
  'parked.interrupt': {
    source: 'BEHAVIOUR 8',
    promise: 'an interrupt of a parked session answers its calls with an error and tells idle with end_turn, without the model',
  },
  'parked.crash': { source: 'I1, I3', promise: 'workers killed while answers come lose no answer and ask for no call twice' },
  'turn.refusal': {
    source: 'BEHAVIOUR 5.7',
    promise: 'a refusal of the model ends the turn with its details, and what was refused is not shown to the model again',
  },
  'system.turn': {
    source: 'CONTRACT 3.1',
    promise: 'a system message stands as a turn of its own behind what it came with, for this and later requests',
  },
  'system.words': { source: 'CONTRACT 3.1', promise: 'a model of which nothing is known is told a system message in words' },
  'system.refusals': {
    source: 'CONTRACT 3.1, BEHAVIOUR 6',
    promise: 'a system message in the wrong place, or for a model that takes none, is refused and nothing is stored',
  },
  'turn.drain': { source: 'I10', promise: 'a worker that is told to end hands its turn over, and clients see no error' },
  'turn.takeover': {
    source: 'CONTRACT 8 O, I3',
    promise: 'when a worker dies in a model request, the take-over closes its span, tells nothing else, and asks anew',
  },
  'budgets.cap': {
    source: 'BEHAVIOUR 25',
    promise: 'a session stops before the request that its budget does not allow, tells why, and takes no new work',
  },
  'budgets.resume': { source: 'CONTRACT SE-3', promise: 'a raise beyond what was spent makes a capped session go on by itself' },
  'budgets.rules': {
    source: 'CONTRACT SE-3, 8.3',
    promise: 'a budget needs priced models, is given at creation only, and once taken away stays away',
  },
  'budgets.queued': { source: 'CONTRACT 8 L', promise: 'messages queued when the budget is reached are kept and answered once it allows' },
  'budgets.race': { source: 'BEHAVIOUR 25', promise: 'however raises meet requests and idles, the work goes on and no request is lost' },
  'usage.cost': {
    source: 'BEHAVIOUR 25',
    promise: 'the list cost is the exact sum of tokens and running time, and unknown without a price',
  },
  'usage.takeover': { source: 'BEHAVIOUR 25, I3', promise: 'sums are right after a worker died in the middle of a turn' },
  'context.compaction': {
    source: 'BEHAVIOUR 25',
    promise: 'a conversation is summed up before it outgrows the window, with its event, and the history keeps everything',
  },
  'context.checkpoint': { source: 'I14', promise: 'another worker goes on with the compacted conversation' },
  'context.compaction_crash': { source: 'I10', promise: 'a worker that dies while it compacts loses nothing and changes nothing' },
  'context.too_long': {
    source: 'BEHAVIOUR 26',
    promise: 'a model that finds a prompt too long gets a shorter one; what cannot be made to fit ends the turn and the next message works',
  },
  'turn.tool_rounds': {
    source: 'BEHAVIOUR 26',
    promise: 'a turn that calls tools without end is stopped, and the next message starts anew',
  },
  'turn.no_sandbox': { source: 'I8', promise: 'the model is asked and answers where no sandbox can be had' },
} as const satisfies Record<string, Requirement>;
