/** The Hand port behind which every tool looks alike to the harness, and its sandbox client. */
export type { BindingSaved, SandboxBinding, SaveBinding } from './binding.ts';
export { createClientHand } from './client-hand.ts';
export type { ExecuteOptions, Hand, HandCall } from './hand.ts';
export { sendHint } from './hint.ts';
export type { LeaseWait } from './lease-sandbox.ts';
export { createSandboxHand, type SandboxHand, type SandboxHandOptions } from './sandbox-hand.ts';
