/** Sessions, their events as sent, listed and streamed, threads, files. */
import type { Requirement } from './requirement.ts';

export const SESSIONS = {
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
  'threads.archive': {
    source: 'CONTRACT TH-3',
    promise: 'a primary thread is not archived but its session is, which the refusal says; other threads do not exist',
  },
} as const satisfies Record<string, Requirement>;
