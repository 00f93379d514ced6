/** Built-in tools, and the web. */
import type { Requirement } from './requirement.ts';

export const TOOLS = {
  'tools.denied': {
    source: 'BEHAVIOUR 10',
    promise: 'a call of a disabled or unknown tool is denied with an error result and the model goes on',
  },
  'tools.web_search': { source: 'issue 2', promise: 'web_search answers with a tool error that says what to configure' },
  'tools.broken_input': { source: 'issue 2', promise: 'a call whose input is no JSON object gets an error result and the model goes on' },
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
    promise: 'without a script the fake model does a real job with real tools and reports the true output',
  },
  'tools.hostile': { source: 'issue 2', promise: 'binary, endless, huge and deceiving output is bounded and cleaned, and breaks nothing' },
  'tools.network': {
    source: 'I11',
    promise: 'a sandbox reaches neither the host, nor private or metadata addresses, nor hosts that are not allowed',
  },
  'tools.secrets': { source: 'I7', promise: 'no address or key of the installation is in a sandbox, and nothing said is in a log line' },
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
} as const satisfies Record<string, Requirement>;
