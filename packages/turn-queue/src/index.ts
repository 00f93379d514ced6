/** The BullMQ queues: wake-ups, prewarm and release jobs. */
export { watchQueues } from './queue-metrics.ts';
export {
  type ConsumeOptions,
  consumeTurns,
  createTurnQueue,
  LOCK_DURATION_MS,
  QUEUE_PREFIX,
  SANDBOX_QUEUE,
  STALLED_INTERVAL_MS,
  TURN_QUEUE,
  type TurnConsumer,
  type TurnQueue,
  type TurnReport,
} from './turn-queue.ts';
