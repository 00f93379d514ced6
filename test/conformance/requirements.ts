/**
 * What is promised, by id. `source` says where the promise comes from: an endpoint or section of the contract, an invariant of the design
 * (I1..I14), or a section of the platform's behaviour. `coverage.test.ts` fails on a promise without a scenario.
 */
export interface Requirement {
  source: string;
  promise: string;
}

export const REQUIREMENTS = {
  'agents.create.defaults': {
    source: 'CONTRACT AG-1',
    promise: 'a new agent is at version 1, with every field present and every default filled in',
  },
  'agents.create.full': { source: 'CONTRACT AG-1', promise: 'what an agent may have at most is accepted and told back resolved' },
  'agents.create.refusals': {
    source: 'CONTRACT AG-1, 8 D',
    promise: 'a wrong, missing, unknown or oversized field is named and nothing is stored',
  },
  'agents.create.not_yet': { source: 'I13', promise: 'what comes later is refused with "not supported yet" and nothing is stored' },
  'agents.create.fuzz': { source: 'I13', promise: 'whatever else is sent is a 400 that names the field, and nothing is stored' },
  'agents.retrieve.versions': {
    source: 'CONTRACT AG-2',
    promise: 'every version stays readable as it was; without one the newest is told',
  },
  'agents.versions.list': { source: 'CONTRACT AG-6', promise: 'versions are listed whole, newest first, in pages' },
  'agents.update.merge': { source: 'CONTRACT AG-3', promise: 'what is left out stays, null clears, metadata merges key by key' },
  'agents.update.model': { source: 'BEHAVIOUR 3', promise: 'the model is replaced whole, but effort stays while the id does' },
  'agents.update.no_change': { source: 'CONTRACT AG-3', promise: 'an update that changes nothing makes no version' },
  'agents.update.conflict': {
    source: 'CONTRACT 8.2',
    promise: 'a stale version is a 409 that is not tried again; without one the last update wins and none is lost',
  },
  'agents.update.refusals': { source: 'CONTRACT AG-3', promise: 'name and model cannot be cleared, and a refused update changes nothing' },
  'agents.list': {
    source: 'CONTRACT AG-4',
    promise: 'newest first, in pages, filtered by time, archived ones when asked for; a bad parameter is named',
  },
  'agents.archive': {
    source: 'CONTRACT AG-5',
    promise: 'archiving is final and may be repeated: readable, no update, no new session, no delete',
  },
  'environments.create.defaults': {
    source: 'CONTRACT EN-1, EN-2, 8 C',
    promise: 'a new environment has every field present, unrestricted networking and no packages; names may repeat',
  },
  'environments.create.limited': {
    source: 'CONTRACT EN-1',
    promise: 'limited networking takes bare hosts and *.domain, its flags are off unless set',
  },
  'environments.create.refusals': {
    source: 'CONTRACT EN-1, 8 D',
    promise: 'a wrong, missing or unknown field is named and nothing is stored',
  },
  'environments.create.not_yet': {
    source: 'I13',
    promise: 'packages, self-hosted environments and account scope are refused as not supported',
  },
  'environments.update.merge': {
    source: 'CONTRACT EN-3',
    promise: 'what is left out or null inside config stays; null or "" deletes a metadata key; description keeps ""',
  },
  'environments.update.type': { source: 'CONTRACT EN-3', promise: 'the type of an environment cannot change' },
  'environments.list': { source: 'CONTRACT EN-4', promise: 'newest first, in pages; a bad parameter or foreign cursor is named' },
  'environments.delete': {
    source: 'CONTRACT EN-5, BEHAVIOUR 4',
    promise: 'an environment that no session refers to is deleted and gone; one in use is refused',
  },
  'environments.archive': {
    source: 'CONTRACT EN-6',
    promise: 'archiving is final and may be repeated: no update, no new session, listed when asked for',
  },
  'models.list': { source: 'CONTRACT MO-2', promise: 'the configured models are listed in pages, for both clients of the SDK' },
  'models.retrieve': { source: 'CONTRACT MO-1', promise: 'a model is told with every field present, an unlisted one is not found' },
  'keys.life': { source: 'CONTRACT 8 G', promise: 'a key is shown once, works until it is revoked, and never again' },
  'keys.scope': { source: 'I12', promise: 'only operators reach keys and the board' },
  'keys.refusals': { source: 'CONTRACT 8 D, I12', promise: 'wrong fields are named, and keys of another workspace do not exist' },
  'health.open': { source: 'I12', promise: 'health checks answer without a key, and readiness tells of a storage that does not answer' },
  'board.operator': { source: 'DESIGN 8', promise: 'the queue board opens for an operator by bearer or basic, read-only' },
  'http.auth.ways': { source: 'CONTRACT 8 F', promise: 'a key may come as bearer or as x-api-key, from old and new SDKs' },
  'http.auth.required': { source: 'I12', promise: 'no endpoint, built or not, answers without a good key, and no refusal repeats the key' },
  'http.auth.workspace': { source: 'CONTRACT 0.2', promise: 'a workspace header must name the workspace of the key' },
  'http.foreign': { source: 'I12', promise: 'what belongs to another workspace does not exist and cannot be touched' },
  'http.not_built': { source: 'issue 2', promise: 'endpoints and methods that are not built are a 404 that is not tried again' },
  'http.malformed_ids': { source: 'CONTRACT 8 M', promise: 'a malformed id is as unknown as an unknown one' },
  'http.body.json': {
    source: 'CONTRACT 5',
    promise: 'a body that is broken, missing, no object or of another type is refused with a reason',
  },
  'http.body.limit': { source: 'CONTRACT 5.2', promise: 'a body over 32 MB is a 413 and nothing is stored' },
  'http.body.none': { source: 'CONTRACT 0.1', promise: 'requests without fields take no body, an empty one or {}, and refuse a field' },
  'http.query': {
    source: 'CONTRACT 0.1, 8 D',
    promise: 'beta is ignored, empty means absent, lists come in both spellings, unknown names are refused everywhere',
  },
  'http.generations': { source: 'CONTRACT 8 E, F', promise: 'any API version and beta header is accepted' },
  'http.announcement': { source: 'CONTRACT 8 N', promise: 'shapes of the announcement are refused and the current shape is shown' },
  'http.request_id': { source: 'CONTRACT 0.3', promise: 'every answer carries a request id of its own' },
  'http.fuzz': { source: 'CONTRACT 5', promise: 'no path and body is answered with anything but a documented refusal' },
  'edge.bodies': {
    source: 'CONTRACT 5.2, 5.3',
    promise: 'a body too large, compressed, in another charset or not in UTF-8 has its status, type and code, chunked or announced',
  },
  'edge.json': {
    source: 'CONTRACT 5',
    promise: 'of a body that is no JSON the place is told; deep, endless and prototype-changing ones are refused',
  },
  'edge.order': {
    source: 'CONTRACT 0.3, issue 4',
    promise: 'what is not even HTTP is answered in the envelope, behind the answers before it, under an id that the log has',
  },
  'edge.fuzz.http': { source: 'issue 4', promise: 'damaged requests get a refusal or a valid answer, and change nothing' },
  'edge.fuzz.stream': {
    source: 'issue 4, CONTRACT 8 B, 8 D',
    promise: 'whatever query and headers the stream route is asked with, it opens or refuses, and changes nothing',
  },
  'edge.fuzz.json': { source: 'issue 4', promise: 'damaged JSON is refused or means what it says, and changes nothing' },
  'limits.rate': {
    source: 'CONTRACT 8 P, BEHAVIOUR 27',
    promise: 'two gateways under load let through what one limit holds; the rest is a 429 with retry-after that the SDK knows',
  },
  'limits.rate.apart': {
    source: 'CONTRACT 8 P, BEHAVIOUR 27',
    promise: 'reading goes on when no more may be changed, operators are not limited, and the limit outlives its gateways',
  },
  'limits.rate.off': { source: 'CONTRACT 8 P', promise: 'unless asked for, there is no limit and no header of one' },
  'sessions.create.defaults': {
    source: 'CONTRACT SE-1, SE-2, 8 J',
    promise: 'a new session is idle, has every field present and an empty log',
  },
  'sessions.create.snapshot': {
    source: 'CONTRACT SE-1',
    promise: 'a session keeps the agent as it was; a version may be pinned; an archived agent starts none',
  },
  'sessions.create.initial_events': {
    source: 'CONTRACT SE-1',
    promise: 'a session with initial events is running at once, and the events are in its log',
  },
  'sessions.create.refusals': {
    source: 'CONTRACT SE-1, 8 D',
    promise: 'a wrong, missing or unknown field or id is named and no session is made',
  },
  'sessions.create.not_yet': {
    source: 'I13',
    promise: 'resources, vaults, outcomes, and overrides of skills and MCP servers are refused as not supported yet',
  },
  'sessions.update': {
    source: 'CONTRACT SE-3',
    promise: 'title and metadata change, also while running; what changed is told, no change tells nothing, none is lost',
  },
  'sessions.update.refusals': { source: 'CONTRACT SE-3', promise: 'what cannot change is refused and nothing is written' },
  'sessions.overrides': {
    source: 'BEHAVIOUR 5.1, CONTRACT SE-1',
    promise: 'a session may have system text and tools of its own, replaced, cleared or inherited; the agent stays as it is',
  },
  'sessions.overrides.model': {
    source: 'BEHAVIOUR 5.1, I13',
    promise: "a session's own model replaces the agent's whole, with the effort that it names or the default",
  },
  'sessions.overrides.effect': {
    source: 'I13',
    promise: 'the model is asked with what the session overrides, and with nothing of the agent instead',
  },
  'sessions.overrides.refusals': {
    source: 'CONTRACT SE-1, 5.3',
    promise: 'a wrong override is named by its path, a cleared model by its code, and no session is made',
  },
  'sessions.update.agent': {
    source: 'CONTRACT SE-3',
    promise: 'the tools of an idle session are replaced whole and told with the whole agent; no change tells nothing',
  },
  'sessions.update.agent.next_turn': { source: 'CONTRACT SE-3', promise: 'changed tools are what the next turn offers the model, at once' },
  'sessions.update.agent.refusals': {
    source: 'CONTRACT SE-3',
    promise: 'only tools change, only while idle; a refused update changes nothing, its other fields neither',
  },
  'sessions.list.paging': {
    source: 'CONTRACT SE-4, 0.4',
    promise: 'pages go forward and back in both orders, and a cursor keeps its order',
  },
  'sessions.list.cursor_range': { source: 'BEHAVIOUR 2', promise: 'a created_at filter that excludes the cursor is refused' },
  'sessions.list.filters': {
    source: 'CONTRACT SE-4',
    promise: 'sessions are filtered by agent, version, status, time and archive; wrong filters are refused',
  },
  'sessions.archive': { source: 'CONTRACT SE-6', promise: 'archived means terminated, told, readable, closed; it may be repeated' },
  'sessions.running.kept': { source: 'BEHAVIOUR 5.6', promise: 'a running session is neither archived nor deleted' },
  'sessions.delete': { source: 'CONTRACT SE-5', promise: 'a deleted session is gone for every endpoint; its agent and environment stay' },
  'sessions.delete.rest': {
    source: 'BEHAVIOUR 5.6',
    promise: 'nothing of a deleted session is left: not its bodies in the blob store, not its place in lists or its environment',
  },
  'environments.delete.race': {
    source: 'CONTRACT EN-5',
    promise: 'of a deletion and sessions that begin at the same time, either the environment stays or none of the sessions is made',
  },
  'bodies.agents': {
    source: 'issue 4',
    promise: 'any valid agent and any valid changes of it come back as they were meant, versions counted',
  },
  'bodies.environments': { source: 'issue 4', promise: 'any valid environment and any valid changes of it come back as they were meant' },
  'bodies.sessions': { source: 'issue 4', promise: 'any valid session, with overrides, messages and changes, comes back as it was meant' },
  'bodies.refused': {
    source: 'issue 4',
    promise: 'a body wrong in one place is a 400 that names the place, and nothing stored is another',
  },
  'events.send.echo': {
    source: 'CONTRACT EV-2',
    promise: 'a batch is stored whole, in order, told back with ids, queued, and the session runs',
  },
  'events.send.idle_interrupt': {
    source: 'BEHAVIOUR 8',
    promise: 'an interrupt of an idle session is recorded as handled and starts nothing',
  },
  'events.send.refusals': {
    source: 'CONTRACT EV-2',
    promise: 'one wrong event refuses the whole batch, named by its place, and nothing is stored',
  },
  'events.send.not_yet': { source: 'I13', promise: 'later event kinds are refused as not supported yet' },
  'events.send.text': { source: 'I1', promise: 'any text comes back as it was sent, control characters and large ones too' },
  'events.send.retried': {
    source: 'CONTRACT 8 K',
    promise: 'a retried send appends nothing and answers the stored events; anything else is new',
  },
  'events.list': {
    source: 'CONTRACT EV-1, 8 I',
    promise: 'pages of any size, in both orders, show each event once; filtered by type and time; queued ones last',
  },
  'threads.list': { source: 'CONTRACT TH-2', promise: 'a session has its primary thread, with every field, filtered by status' },
  'threads.retrieve': { source: 'CONTRACT TH-1', promise: 'the primary thread shares the status of the session; other ids do not exist' },
  'threads.events.list': { source: 'CONTRACT TE-1', promise: 'the primary thread lists the events of the session and takes no filters' },
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
  'tools.denied': {
    source: 'BEHAVIOUR 10',
    promise: 'a call of a disabled or unknown tool is denied with an error result and the model goes on',
  },
  'tools.web_search': { source: 'issue 2', promise: 'web_search answers with a tool error that says what to configure' },
  'tools.broken_input': { source: 'issue 2', promise: 'a call whose input is no JSON object gets an error result and the model goes on' },
  'stream.frames': {
    source: 'CONTRACT 3.4, 8 A',
    promise: 'each frame names its event and holds it in one line; stored ones carry their id',
  },
  'stream.ping': { source: 'CONTRACT 8 A', promise: 'a quiet stream carries a ping every 10 s' },
  'stream.refusals': {
    source: 'CONTRACT EV-3, TE-2',
    promise: 'unknown sessions, threads, delta kinds and places to resume from are refused before the stream opens',
  },
  'stream.live_only': { source: 'CONTRACT 8 B', promise: 'without a place to resume from a stream tells what comes, nothing from before' },
  'stream.no_gap': { source: 'I2', promise: 'who opens the stream and then lists misses nothing, at any time and on any gateway' },
  'stream.thread': { source: 'CONTRACT TE-2', promise: 'the stream of the primary thread is the stream of the session' },
  'stream.end': { source: 'CONTRACT 3.4.11', promise: 'a stream ends, at a whole frame, behind session.deleted' },
  'stream.many_turns': { source: 'BEHAVIOUR 7', promise: 'a stream stays open over many turns and tells updates' },
  'stream.resume': { source: 'CONTRACT 8 B', promise: 'resumed after any event, by header or parameter, a stream tells exactly the rest' },
  'stream.resume.queued': { source: 'CONTRACT 8 I', promise: 'resumed after a queued event, a stream starts behind its first appearance' },
  'stream.resume.live': { source: 'issue 2', promise: 'a client that resumes again and again during the work misses nothing' },
  'stream.resume.browser': { source: 'CONTRACT 8 B', promise: 'an empty Last-Event-ID means none' },
  'previews.prefix': { source: 'CONTRACT 3.4.10', promise: 'deltas build a growing prefix of the message under the id that it gets' },
  'previews.order': {
    source: 'CONTRACT 3.4.9',
    promise: 'previews come between the start of the request and the event; thinking has a start only',
  },
  'previews.choice': { source: 'CONTRACT EV-3', promise: 'only the asked kinds are previewed, and previews are never stored or replayed' },
  'previews.late': { source: 'BEHAVIOUR 7', promise: 'who comes in the middle of a message gets no preview of it' },
  'previews.cut': { source: 'CONTRACT 8 O', promise: 'a request that broke off is previewed anew under another id' },
  'tools.bash': { source: 'issue 2', promise: 'a command runs in a real sandbox and its true output reaches the model' },
  'tools.events': {
    source: 'CONTRACT 3.2',
    promise: 'a call and its result have exactly the fields of their kinds, in order, under the id the model sees',
  },
  'tools.bash.shell': {
    source: 'BEHAVIOUR 9',
    promise: 'the shell persists, fails with the exit code, restarts, is killed at its time limit, and has no stdin',
  },
  'tools.files': {
    source: 'BEHAVIOUR 9, CONTRACT 4.3',
    promise: 'write, read, edit, glob and grep do what they say, in the documented words',
  },
  'tools.media': {
    source: 'issue 4, CONTRACT 2.12',
    promise: 'images and PDFs that are read stand in the log and before the model as blocks of their kind, large ones too',
  },
  'tools.spill': {
    source: 'BEHAVIOUR 9',
    promise: 'output of more than 100,000 characters is in a file that the result names, with a preview',
  },
  'tools.confined': {
    source: 'CONTRACT 4.3',
    promise: 'file tools reach the workspace only, whatever links and paths say; bash is not bound',
  },
  'tools.bad_input': { source: 'issue 2', promise: 'a call with a wrong input gets an error result that names the field' },
  'tools.parallel': { source: 'BEHAVIOUR 6', promise: 'calls of one answer run side by side and come back to the model together' },
  'tools.interrupt': {
    source: 'BEHAVIOUR 8',
    promise: 'an interrupt kills the running command, answers the call, and the workspace goes on',
  },
  'tools.workspace': { source: 'BEHAVIOUR 4, I11', promise: 'a session keeps its files over turns and shares them with no other' },
  'tools.queued_behind': { source: 'CONTRACT 8 L', promise: 'a message sent while a command runs is taken up when its work is done' },
  'tools.default_job': {
    source: 'issue 2',
    promise: 'without a script the double does a real job with real tools and reports the true output',
  },
  'tools.hostile': { source: 'issue 2', promise: 'binary, endless, huge and deceiving output is bounded and cleaned, and breaks nothing' },
  'tools.network': {
    source: 'I11',
    promise: 'a sandbox reaches neither the host, nor private or metadata addresses, nor hosts that are not allowed',
  },
  'tools.secrets': { source: 'I7', promise: 'no address or key of the installation is in a sandbox, and nothing said is in a log line' },
  'turn.drain': { source: 'I10', promise: 'a worker that is told to end hands its turn over, and clients see no error' },
  'turn.takeover': {
    source: 'CONTRACT 8 O, I3',
    promise: 'when a worker dies in a model request, the take-over closes its span, tells nothing else, and asks anew',
  },
  'board.jobs': { source: 'issue 2', promise: 'a job on the queue board shows its session, attempt, phase and last log lines' },
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
  'content.media': {
    source: 'CONTRACT 2.12',
    promise: 'images and documents of the user reach the model and the history as they were sent',
  },
  'content.media_refusals': { source: 'CONTRACT 2.12', promise: 'a block that is wrong is named and nothing is stored' },
  'content.files': {
    source: 'CONTRACT 2.12, BEHAVIOUR 6',
    promise:
      'files in messages and results of custom tools reach the model as what they hold, and stay with the session when the file goes',
  },
  'content.files_refusals': {
    source: 'CONTRACT 2.12, BEHAVIOUR 5.1',
    promise: 'a file that is not there, expired, of another kind or too large is named by its place and nothing is stored',
  },
  'models.routes': {
    source: 'issue 4',
    promise: 'a model behind a chat completions endpoint runs a session with tools, beside models behind the Messages API',
  },
  'files.upload': { source: 'CONTRACT FI-5, FI-4', promise: 'an upload is told with every field, under the last component of its name' },
  'files.list': { source: 'CONTRACT FI-1', promise: 'files are listed in pages, by ids, and by the session that they belong to' },
  'files.download': { source: 'CONTRACT FI-3, 8 H', promise: 'an upload is not downloadable, which its metadata and the refusal say' },
  'files.delete': { source: 'CONTRACT FI-2', promise: 'a deleted file is gone at once' },
  'files.mounted': {
    source: 'BEHAVIOUR 13, CONTRACT 1.4',
    promise: 'the files of a session are in its sandbox by its first call, read-only and byte for byte, whatever becomes of the upload',
  },
  'files.outputs': {
    source: 'BEHAVIOUR 13, I6',
    promise:
      'what is in the outputs is listed by scope and downloads byte for byte once idle is told; links and special files are left out',
  },
  'files.outputs.replaced': {
    source: 'BEHAVIOUR 13',
    promise: 'a changed output has a new id, an unchanged one keeps its own, a deleted one stays away, and all go with the session',
  },
  'files.resources.create': {
    source: 'CONTRACT SE-1, 2.2',
    promise: 'a session is created with files: copies of its own, at paths that it tells',
  },
  'files.resources.change': {
    source: 'CONTRACT RS-1, RS-4, RS-5',
    promise: 'files are added to and taken from a live session, and its next call sees it',
  },
  'files.resources.list': { source: 'CONTRACT RS-3', promise: 'the resources of a session are listed in pages, oldest first' },
  'files.resources.refusals': {
    source: 'CONTRACT RS-2, RS-5, 8 D',
    promise: 'a path that is unclean, taken or nowhere a file can be, and a file that is not there, are refused by name',
  },
  'web.search': {
    source: 'BEHAVIOUR 9, CONTRACT 2.12',
    promise: 'a search answers with blocks of search results, which the model reads as text; what is no page of the web is left out',
  },
  'web.cost': { source: 'BEHAVIOUR 25', promise: 'searches are counted in the usage of their session and cost a cent each' },
  'web.search.rules': {
    source: 'CONTRACT 4.2, BEHAVIOUR 9',
    promise: 'results outside of the domains of an agent are missing, and domains and place are told to the model',
  },
  'web.search.failures': {
    source: 'BEHAVIOUR 9, I7',
    promise: 'a search that fails is an error that says why, without a word of the service, costs nothing, and the model goes on',
  },
  'web.search.interrupt': { source: 'BEHAVIOUR 8', promise: 'a search under way ends with an interrupt and is not counted' },
  'web.search.takeover': { source: 'I1, I10', promise: 'a search whose worker died is done again by the next, and counted once' },
  'web.fetch.domains': {
    source: 'CONTRACT 4.2, BEHAVIOUR 9',
    promise: 'a URL outside of the domains of an agent is refused with an error that names url_not_allowed, and not counted',
  },
  'web.fetch.sources': {
    source: 'CONTRACT 4.2',
    promise: 'with url_sources only URLs are fetched that the sources they allow have shown, also after an update and by another worker',
  },
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
  'threads.archive': {
    source: 'CONTRACT TH-3',
    promise: 'a primary thread is not archived but its session is, which the refusal says; other threads do not exist',
  },
  'http.ids': { source: 'CONTRACT 0.5', promise: 'every id begins with the prefix of its kind, every time is RFC 3339 in UTC' },
  'http.pages': { source: 'CONTRACT 8.1', promise: 'a page has 20 items unless asked and at most 100, of events at most 1000' },
  'turn.no_sandbox': { source: 'I8', promise: 'the model is asked and answers where no sandbox can be had' },
  'legacy.requests': {
    source: 'CONTRACT 8 F',
    promise: 'the SDK from before 1.0 is answered: its key as x-api-key, ?beta=true, and the API version of its time',
  },
  'legacy.agents': { source: 'CONTRACT 8 F', promise: 'the old SDK makes, changes, versions, lists and archives agents' },
  'legacy.environments': { source: 'CONTRACT 8 F', promise: 'the old SDK makes, changes, lists, archives and deletes environments' },
  'legacy.sessions': {
    source: 'CONTRACT 8 F',
    promise: 'the old SDK makes, changes, lists, archives and deletes sessions, and reads their threads',
  },
  'legacy.files': {
    source: 'CONTRACT 8 F',
    promise: 'the old SDK uploads, downloads and deletes files and mounts them in sessions; of a list of files it sees the first page',
  },
  'legacy.models': { source: 'CONTRACT 8 F', promise: 'the old SDK lists models, and is told of one that there is not' },
  'legacy.errors': { source: 'CONTRACT 8 F', promise: 'refusals are the error classes of the old SDK' },
  'legacy.stream.kinds': {
    source: 'CONTRACT 8 A',
    promise: 'which kinds of events the streams of the old SDK drop is known, and nothing that ends or blocks a turn is among them',
  },
  'legacy.turn': {
    source: 'CONTRACT 8 F, 8 A',
    promise: 'the old SDK sends messages, follows the stream in order, and lists everything, kinds that its streams drop too',
  },
  'legacy.interrupt': { source: 'CONTRACT 8 F', promise: 'the old SDK interrupts a turn' },
  'legacy.confirmations': { source: 'CONTRACT 8 F', promise: 'the old SDK allows and denies the calls that wait for it' },
  'legacy.runner': { source: 'CONTRACT 8 F, 6.3', promise: 'the session tool runner of the old SDK serves custom tools' },
} as const satisfies Record<string, Requirement>;
export type RequirementId = keyof typeof REQUIREMENTS;
