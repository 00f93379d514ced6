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

/** What came of a compare-and-set of the binding: `bound` is the session's, which a sibling changed first; null if it never had one. */
export type BindingSaved = { saved: true } | { saved: false; bound: SandboxBinding | null };

/**
 * Makes `next` the session's binding, durably and fenced, if that is still of `expected`'s generation (null: none was ever bound). A sandbox is
 * given up by its own generation without ids; a second such clearing may be told as saved or as not. What it throws, `execute` throws.
 */
export type SaveBinding = (next: SandboxBinding, expected: SandboxBinding | null) => Promise<BindingSaved>;

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
