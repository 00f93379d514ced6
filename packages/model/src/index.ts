/** The model port, its adapters, routing and prices, and the fake model. */
export { type AnthropicModelOptions, createAnthropicModel, SESSION_HEADER, STALL_TIMEOUT_MS } from './anthropic/anthropic-model.ts';
export { FAKE_MODEL_ID, type FakeModel, type FakeModelOptions, startFakeModel } from './fake/fake-model.ts';
export {
  type AnsweredBy,
  MODEL_FAILURE_REASONS,
  type ModelBlockKind,
  type ModelClient,
  type ModelEffort,
  ModelError,
  type ModelErrorKind,
  type ModelErrorOptions,
  type ModelFailureReason,
  type ModelListener,
  type ModelListing,
  type ModelRequest,
  type ModelResponse,
  type ModelSpeed,
  type ModelUsageCounts,
  SILENT,
} from './model-client.ts';
export { type ModelRoute, ModelRoutes, type ModelUpstream, parseModelRoutes } from './model-routes.ts';
export { createOpenAiModel, type OpenAiModelOptions } from './openai/openai-model.ts';
export { PriceOverride, parsePriceOverride } from './prices/price-list.ts';
export { createPriceTable, type PriceTable, type PriceTableOptions, priceTableOf } from './prices/price-table.ts';
export {
  createModelRouter,
  type ModelKeySources,
  type ModelLimits,
  type ModelRouter,
  type ModelRouterOptions,
  readModelKeys,
} from './routing.ts';
