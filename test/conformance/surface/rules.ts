/**
 * The rules that hold across endpoints, each under the citation by which promises refer to it (`requirements.ts`, `source`). A rule is shown by
 * the promises that cite it; one without any names the feature that it waits for, and `coverage.test.ts` fails on anything else.
 */
export interface Rule {
  /** `CONTRACT 8` is cited by `CONTRACT 8 D` too. */
  cites: string;
  rule: string;
  feature?: string;
}
export interface RuleGroup {
  name: string;
  rules: readonly Rule[];
}

const SELF_HOSTED = 'self-hosted environments';

export const RULE_GROUPS: readonly RuleGroup[] = [
  {
    name: 'Requests and answers',
    rules: [
      {
        cites: 'CONTRACT 0.1',
        rule: 'paths, queries and bodies are read as the SDK writes them: empty means absent, lists in both spellings',
      },
      { cites: 'CONTRACT 0.2', rule: 'a workspace header has to name the workspace of the key' },
      { cites: 'CONTRACT 0.3', rule: 'every answer has a request id of its own and a content type that the SDK reads' },
      { cites: 'CONTRACT 0.4', rule: 'lists come in pages, and the cursor of a page keeps its order' },
      { cites: 'CONTRACT 0.5', rule: 'ids begin with the prefix of their kind, times are RFC 3339' },
      {
        cites: 'CONTRACT 0.6',
        rule: 'environment keys and the tokens of work items reach what a worker needs, and no more',
        feature: SELF_HOSTED,
      },
      { cites: 'CONTRACT 2', rule: 'objects have the fields that the SDK declares' },
      { cites: 'CONTRACT 5', rule: 'errors have one envelope, a type that fits the status, and the documented codes' },
    ],
  },
  {
    name: 'Events and streams',
    rules: [
      { cites: 'CONTRACT 3.1', rule: 'what clients may send, and when' },
      { cites: 'CONTRACT 3.2', rule: 'what is told, with which fields, and when' },
      { cites: 'CONTRACT 3.3', rule: 'errors of a session say whether it is tried again' },
      { cites: 'CONTRACT 3.4', rule: 'frames, order and previews on streams' },
      { cites: 'CONTRACT 3.5', rule: 'webhooks tell of what happens', feature: 'webhooks' },
    ],
  },
  {
    name: 'Tools',
    rules: [
      { cites: 'CONTRACT 4.3', rule: 'the built-in tools answer in the documented words and within the documented bounds' },
      { cites: 'CONTRACT 4.4', rule: 'permissions, confirmations and results of tools' },
    ],
  },
  {
    name: 'Programs of the SDK',
    rules: [
      { cites: 'CONTRACT 6.1', rule: 'the work poller', feature: SELF_HOSTED },
      { cites: 'CONTRACT 6.2', rule: 'the environment worker', feature: SELF_HOSTED },
      { cites: 'CONTRACT 6.3', rule: 'the session tool runner' },
      { cites: 'CONTRACT 6.4', rule: 'the verification of webhooks', feature: 'webhooks' },
      { cites: 'CONTRACT 6.6', rule: 'the memory synchronisation of the worker', feature: 'memory stores' },
    ],
  },
  {
    name: 'Where the platform leaves a choice, ours',
    rules: [
      { cites: 'CONTRACT 8 A', rule: 'a frame is named by the type of its event and carries its id; a ping comes every 10 s' },
      { cites: 'CONTRACT 8 B', rule: '`Last-Event-ID` or `?after=` replays what came after an event; without them a stream is live only' },
      { cites: 'CONTRACT 8 C', rule: 'names of environments may repeat' },
      { cites: 'CONTRACT 8 D', rule: 'an unknown field of a request is refused by name' },
      { cites: 'CONTRACT 8 E', rule: 'beta headers are not needed, and unknown ones are accepted' },
      { cites: 'CONTRACT 8 F', rule: 'old and new SDKs: bearer and `x-api-key`, with and without `?beta=true`, any API version' },
      { cites: 'CONTRACT 8 G', rule: 'keys are made under `/v1/manyhands`' },
      { cites: 'CONTRACT 8 H', rule: 'an upload is downloadable only where its metadata says so' },
      {
        cites: 'CONTRACT 8 I',
        rule: 'an event that waits is listed once, where it was taken up; a stream tells it when it comes and when it is taken up',
      },
      { cites: 'CONTRACT 8 J', rule: 'a session without initial events has an empty log' },
      { cites: 'CONTRACT 8 K', rule: 'a send that the SDK repeats within 60 s appends nothing' },
      { cites: 'CONTRACT 8 L', rule: 'messages that wait are taken up one at a time, with no idle between' },
      { cites: 'CONTRACT 8 M', rule: 'a malformed id is as unknown as an unknown one' },
      { cites: 'CONTRACT 8 N', rule: 'shapes of the announcement are refused, and the current shape is shown' },
      { cites: 'CONTRACT 8 O', rule: 'a model request that a crash cut off is closed, and asked anew under another id' },
      { cites: 'CONTRACT 8 P', rule: 'rate limits are off unless asked for' },
      { cites: 'CONTRACT 8.1', rule: 'a page has 20 items unless asked and 100 at most, of events 1000' },
      { cites: 'CONTRACT 8.2', rule: 'a stale version of an agent is a 409 that is not tried again' },
      { cites: 'CONTRACT 8.3', rule: 'why a budget is refused is a code' },
      { cites: 'CONTRACT 8.10', rule: 'of several answers to one call the first wins, and who repeats it is told it again' },
    ],
  },
  {
    name: 'Subjects',
    rules: [
      { cites: 'BEHAVIOUR 3', rule: 'agents and their versions' },
      { cites: 'BEHAVIOUR 4', rule: 'environments and their sandboxes' },
      { cites: 'BEHAVIOUR 5', rule: 'the life of a session' },
      { cites: 'BEHAVIOUR 6', rule: 'events of a turn' },
      { cites: 'BEHAVIOUR 7', rule: 'streaming and coming back' },
      { cites: 'BEHAVIOUR 8', rule: 'messages meanwhile, steering, interrupts' },
      { cites: 'BEHAVIOUR 9', rule: 'built-in tools' },
      { cites: 'BEHAVIOUR 10', rule: 'permission policies' },
      { cites: 'BEHAVIOUR 11', rule: 'custom tools' },
      { cites: 'BEHAVIOUR 12', rule: 'MCP servers and vaults', feature: 'MCP servers and vaults' },
      { cites: 'BEHAVIOUR 13', rule: 'files and outputs' },
      { cites: 'BEHAVIOUR 14', rule: 'git repositories', feature: 'git repositories' },
      { cites: 'BEHAVIOUR 15', rule: 'skills', feature: 'skills' },
      { cites: 'BEHAVIOUR 16', rule: 'memory stores', feature: 'memory stores' },
      { cites: 'BEHAVIOUR 17', rule: 'outcomes', feature: 'outcomes' },
      { cites: 'BEHAVIOUR 18', rule: 'multi-agent sessions', feature: 'multi-agent sessions' },
      { cites: 'BEHAVIOUR 19', rule: 'workflow runs', feature: 'workflow runs' },
      { cites: 'BEHAVIOUR 20', rule: 'dreams', feature: 'dreams' },
      { cites: 'BEHAVIOUR 21', rule: 'deployments and their runs', feature: 'deployments' },
      { cites: 'BEHAVIOUR 22', rule: 'webhooks', feature: 'webhooks' },
      { cites: 'BEHAVIOUR 23', rule: 'self-hosted sandboxes', feature: SELF_HOSTED },
      { cites: 'BEHAVIOUR 24', rule: 'MCP tunnels', feature: 'MCP tunnels' },
      { cites: 'BEHAVIOUR 25', rule: 'usage, budgets, caching and compaction' },
      { cites: 'BEHAVIOUR 26', rule: 'errors and retries of models' },
      { cites: 'BEHAVIOUR 27', rule: 'rate limits' },
    ],
  },
  {
    name: 'Invariants',
    rules: [
      { cites: 'I1', rule: 'an acknowledged event is never lost' },
      { cites: 'I2', rule: 'log order is list order is stream order' },
      { cites: 'I3', rule: 'a session has one writer' },
      { cites: 'I4', rule: 'a tool call runs at most once' },
      { cites: 'I5', rule: 'work never sleeps' },
      { cites: 'I6', rule: 'a status is true before it is told' },
      { cites: 'I7', rule: 'a secret never enters a sandbox, a log or an error' },
      { cites: 'I8', rule: 'the model never waits for a sandbox' },
      { cites: 'I9', rule: 'an idle session costs stored bytes only' },
      { cites: 'I10', rule: 'any process can be added, killed or rolled at any time' },
      { cites: 'I11', rule: 'one sandbox, one session, no way to anything else' },
      { cites: 'I12', rule: 'nothing but health checks answers without a key' },
      { cites: 'I13', rule: 'what is accepted is honoured, what is not supported is refused' },
      { cites: 'I14', rule: 'cost stays flat while a session grows' },
    ],
  },
];
