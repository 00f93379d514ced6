/** What a harness tells Prometheus: turns, model requests, tool calls, waits for leases and sandboxes, appends. */
import { type Counter, type Gauge, type Histogram, type Metrics, OTHER_VALUE } from '@manyhands/base';
import { BUILTIN_TOOLS } from '@manyhands/contract';
import { type ModelClient, ModelError } from '@manyhands/model';
import { type AppendMetrics, createAppendMetrics } from '@manyhands/session-log';

const TURN_SECONDS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600, 1_800, 7_200];
const START_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const MODEL_SECONDS = [0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300];
const FIRST_TOKEN_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60];
const TOOL_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5, 10, 30, 120, 600];
const WAIT_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5, 10, 60];

const TURN_ENDS = ['idle', 'handover', 'waiting', 'elsewhere', 'failed'] as const;
const LEASE_OUTCOMES = ['taken', 'busy', 'missing', 'nothing', 'drained', 'failed'] as const;
const MODEL_OUTCOMES = [
  'answered',
  'overloaded',
  'rate_limited',
  'request_failed',
  'billing',
  'authentication',
  'aborted',
  'unknown',
] as const;
const TOKEN_KINDS = ['input', 'output', 'cache_creation', 'cache_read'] as const;
const TOOL_NAMES = [...BUILTIN_TOOLS, OTHER_VALUE] as const;
const TOOL_OUTCOMES = ['ok', 'error', 'refused', 'detached'] as const;
const SANDBOX_OUTCOMES = ['leased', 'adopted', 'busy', 'failed'] as const;
const MODELS_MAX = 20;
const MODEL_LABEL = /^[\w.:/@-]{1,64}$/;
const MODELS = { atMost: MODELS_MAX, of: 'the model id, once it has answered this process' };

export interface HarnessMetrics {
  appends: AppendMetrics;
  turnsRunning: Gauge<Record<never, never>>;
  turnsMax: Gauge<Record<never, never>>;
  turn: Histogram<{ end: typeof TURN_ENDS }>;
  recoveries: Counter<Record<never, never>>;
  /** The same under its name of 0.1.0, for one release. */
  takeovers: Counter<Record<never, never>>;
  givenUp: Counter<Record<never, never>>;
  turnStart: Histogram<Record<never, never>>;
  lease: Histogram<{ outcome: typeof LEASE_OUTCOMES }>;
  sessionsWithoutWorker: Gauge<Record<never, never>>;
  sandboxWait: Histogram<{ outcome: typeof SANDBOX_OUTCOMES }>;
  toolEnded(name: string, outcome: (typeof TOOL_OUTCOMES)[number], seconds: number): void;
  measureModel(model: ModelClient): ModelClient;
}

export function createHarnessMetrics(metrics: Metrics): HarnessMetrics {
  const tools = metrics.histogram(
    'manyhands_tool_seconds',
    'Tool calls as this worker saw them; detached: it left before the end, refused: never run. Tools that are not built in are other',
    TOOL_SECONDS,
    { tool: TOOL_NAMES, outcome: TOOL_OUTCOMES },
  );
  return {
    turnsRunning: metrics.gauge('manyhands_turns_running', 'Turns that this worker holds the lease of'),
    turnsMax: metrics.gauge('manyhands_turns_max', 'Turns that this worker runs at the same time at most'),
    turn: metrics.histogram(
      'manyhands_turn_seconds',
      'Turns by how they left this worker; idle: done (or nothing to do), handover: the worker was told to end, waiting: cut during a back-off, failed: ended by an exception and tried again, elsewhere: another worker has the thread',
      TURN_SECONDS,
      { end: TURN_ENDS },
    ),
    recoveries: metrics.counter('manyhands_turn_recoveries_total', 'Turns that were recovered from a worker that died'),
    takeovers: metrics.counter('manyhands_turn_takeovers_total', 'manyhands_turn_recoveries_total under its old name, for one release'),
    givenUp: metrics.counter('manyhands_turns_given_up_total', 'Turns that ended with retries_exhausted'),
    turnStart: metrics.histogram(
      'manyhands_turn_start_seconds',
      'From the append of the event that gave a thread work to its first model request',
      START_SECONDS,
    ),
    lease: metrics.histogram(
      'manyhands_session_lease_seconds',
      'Waits for the lease of a thread; nothing: a wake-up that found no work',
      WAIT_SECONDS,
      {
        outcome: LEASE_OUTCOMES,
      },
    ),
    sessionsWithoutWorker: metrics.gauge(
      'manyhands_sessions_without_worker',
      'Threads with work that this sweep (every 2 s) found without a worker and enqueued; each is found by one harness. Take the sum',
    ),
    sandboxWait: metrics.histogram(
      'manyhands_sandbox_wait_seconds',
      'Waits of tool calls for a sandbox; adopted: another thread of the session was faster',
      WAIT_SECONDS,
      {
        outcome: SANDBOX_OUTCOMES,
      },
    ),
    toolEnded(name, outcome, seconds) {
      tools.observe(seconds, { tool: TOOL_NAMES.find((known) => known === name) ?? OTHER_VALUE, outcome });
    },
    measureModel: modelMeter(metrics),
    appends: createAppendMetrics(metrics),
  };
}

/**
 * Agents may name any model id, so a failed request is told under `other` until that id has answered once: slips of users make no series.
 */
function modelMeter(metrics: Metrics): (model: ModelClient) => ModelClient {
  const running = metrics.gauge('manyhands_model_requests_running', 'Model requests under way');
  const whole = metrics.histogram(
    'manyhands_model_request_seconds',
    'Model requests, from sending to the end of the answer',
    MODEL_SECONDS,
    {
      model: MODELS,
      outcome: MODEL_OUTCOMES,
    },
  );
  const first = metrics.histogram(
    'manyhands_model_first_token_seconds',
    'Answered model requests, from sending to the beginning of the first block',
    FIRST_TOKEN_SECONDS,
    { model: MODELS },
  );
  const tokens = metrics.counter('manyhands_model_tokens_total', 'Tokens of answered model requests, as the endpoint counted them', {
    model: MODELS,
    kind: TOKEN_KINDS,
  });
  const answered = new Set<string>();

  return (client) => ({
    ...client,
    async stream(request, listener, signal) {
      const startMs = performance.now();
      const secondsSoFar = () => (performance.now() - startMs) / 1000;
      let firstSeconds: number | null = null;
      running.add(1);
      try {
        const response = await client.stream(
          request,
          {
            ...listener,
            onBlockStart(index, kind) {
              firstSeconds ??= secondsSoFar();
              listener.onBlockStart(index, kind);
            },
          },
          signal,
        );
        if (answered.size < MODELS_MAX && MODEL_LABEL.test(request.model)) answered.add(request.model);
        const model = answered.has(request.model) ? request.model : OTHER_VALUE;
        whole.observe(secondsSoFar(), { model, outcome: 'answered' });
        if (firstSeconds !== null) first.observe(firstSeconds, { model });
        const { usage } = response;
        tokens.add(usage.input_tokens, { model, kind: 'input' });
        tokens.add(usage.output_tokens, { model, kind: 'output' });
        tokens.add(usage.cache_creation_input_tokens, { model, kind: 'cache_creation' });
        tokens.add(usage.cache_read_input_tokens, { model, kind: 'cache_read' });
        return response;
      } catch (error) {
        const model = answered.has(request.model) ? request.model : OTHER_VALUE;
        whole.observe(secondsSoFar(), { model, outcome: error instanceof ModelError ? error.kind : 'unknown' });
        throw error;
      } finally {
        running.add(-1);
      }
    },
  });
}
