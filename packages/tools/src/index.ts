/** The ToolExecutor port, behind which every tool looks alike to the harness, and its families: sandbox and client. */

export { createClientExecutor } from './client/client-executor.ts';
export type { BindingSaved, SandboxBinding, SaveBinding } from './sandbox/binding.ts';
export type { LeaseWait } from './sandbox/lease-sandbox.ts';
export { sendPrewarm } from './sandbox/prewarm.ts';
export { createSandboxExecutor, type SandboxExecutor, type SandboxExecutorOptions } from './sandbox/sandbox-executor.ts';
export type { ExecuteOptions, ToolCall, ToolExecutor } from './tool-executor.ts';
