/** Where a session's sandbox is, as the session's state keeps it. */

/**
 * `generation` counts the leases of a session and never goes back, so that a late answer of an older sandbox is refused. Without a sandbox,
 * both ids are null and the number stays.
 */
export interface SandboxBinding {
  pool_id: string | null;
  sandbox_id: string | null;
  generation: number;
}

/** A lease that was given. */
export interface BoundSandbox {
  pool_id: string;
  sandbox_id: string;
  generation: number;
}

export function boundSandbox(binding: SandboxBinding | null): BoundSandbox | null {
  if (binding === null || binding.pool_id === null || binding.sandbox_id === null) return null;
  return { pool_id: binding.pool_id, sandbox_id: binding.sandbox_id, generation: binding.generation };
}
