/** The model port, its Anthropic adapter, and the model double. */
export { type AnthropicModelOptions, createAnthropicModel, SESSION_HEADER, STALL_TIMEOUT_MS } from './anthropic/anthropic-model.ts';
export { DOUBLE_MODEL_ID, type ModelDouble, type ModelDoubleOptions, startModelDouble } from './double/model-double.ts';
export {
  type ModelBlockKind,
  type ModelClient,
  type ModelEffort,
  ModelError,
  type ModelErrorKind,
  type ModelErrorOptions,
  type ModelListener,
  type ModelListing,
  type ModelRequest,
  type ModelResponse,
  type ModelSpeed,
  type ModelUsageCounts,
} from './model-client.ts';
