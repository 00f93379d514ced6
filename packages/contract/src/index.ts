/** The contract: everything that crosses a process. See each file for its part. */
export {
  type Agent,
  AgentCreate,
  type AgentDefinition,
  AgentUpdate,
  EFFORTS,
  type Effort,
  type ModelConfig,
  ModelIn,
  type SessionAgent,
  SYSTEM_MAX_CHARS,
  type ThreadAgent,
  ToolsIn,
} from './agents.ts';
export { type ApiKey, ApiKeyCreate, type CreatedApiKey, KEY_SCOPES, type KeyScope } from './api-keys.ts';
export {
  type BidirectionalPage,
  METADATA_MAX_KEYS,
  Metadata,
  MetadataPatch,
  mergeMetadata,
  notSupportedYet,
  notSupportedYetList,
  type Page,
  timestamp,
} from './common.ts';
export { TextBlock, ToolContent, UserContent } from './content.ts';
export {
  EGRESS_FETCH_SUBJECT,
  EGRESS_QUEUE_GROUP,
  EgressOpenRequest,
  EgressPolicy,
  EgressReply,
  egressSubject,
  FetchReply,
  FetchRequest,
} from './egress.ts';
export {
  type CloudConfig,
  type Environment,
  EnvironmentConfigIn,
  EnvironmentCreate,
  EnvironmentUpdate,
  Networking,
  NetworkingIn,
  PACKAGE_MANAGERS,
  PackagesIn,
} from './environments.ts';
export { ERROR_STATUS, type WireErrorBody, type WireErrorType } from './errors.ts';
export {
  type ClientEventBody,
  ClientEventIn,
  EVENT_DELTA_TYPES,
  EVENTS_MAX_PER_REQUEST,
  type EventBody,
  EventsSend,
  type EventType,
  FILTERABLE_EVENT_TYPES,
  InitialEvents,
  type ModelUsage,
  type PreviewEvent,
  PreviewFrame,
  type RetryStatus,
  type SessionErrorType,
  type SessionEvent,
  type SessionUsage,
  type StopReason,
} from './events.ts';
export { CallState, HAND_MAX_FRAME_BYTES, HandReply, HandRequest, SANDBOX_PATHS, ToolOutcome } from './hand-protocol.ts';
export { eventIdPosition, formatEventId, ID_PREFIX, type IdKind, isId, primaryThreadId } from './ids.ts';
export { HintJob, ReleaseJob, TurnJob } from './jobs.ts';
export type { ModelInfo } from './models.ts';

export {
  AckRequest,
  CallReply,
  CancelRequest,
  DoneReply,
  HintReply,
  HintRequest,
  INLINE_BODY_MAX_BYTES,
  LeaseReply,
  LeaseRequest,
  ParkRequest,
  POOL_QUEUE_GROUP,
  poolLeaseSubject,
  ReleaseRequest,
  SANDBOX_SUBJECT,
  SANDBOX_VERBS,
  type SandboxFailure,
  SandboxSpec,
  type SandboxVerb,
  StartRequest,
  sandboxSubject,
  WaitRequest,
  workspaceSnapshotKey,
} from './sandbox.ts';

export { SESSION_STATUSES, type Session, SessionCreate, type SessionStatus, type SessionThread, SessionUpdate } from './sessions.ts';
export {
  type AgentToolset,
  AgentToolsetIn,
  BUILTIN_TOOLS,
  type BuiltinTool,
  enabledTools,
  isSandboxTool,
  PermissionPolicy,
  resolveToolset,
  SANDBOX_TOOLS,
  type SandboxTool,
  TOOL_INPUT,
  type ToolConfig,
  type ToolInput,
  WEB_TOOLS,
  type WebTool,
} from './tools.ts';
