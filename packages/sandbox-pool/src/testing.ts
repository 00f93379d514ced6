/** For tests: the conformance suite that every sandbox driver must pass. */

export { type DriverUnderTest, describeSandboxDriver } from './conformance/sandbox-driver-suite.ts';
export { bash, type CommandResult, startBash, waitFor } from './conformance/sandbox-shell.ts';
