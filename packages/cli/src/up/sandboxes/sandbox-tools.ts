/** bubblewrap and ripgrep for the sandbox pool: found, or fetched; and whether bubblewrap may do its work on this machine. */
import { diagnose, type Finding, type Located, locate } from '@manyhands/infra';
import { PlainError } from '../../usage-error.ts';

/** Throws with what to type when sandboxes cannot be had here. Returns variables for the pool. */
export async function findSandboxTools(log: (line: string) => void): Promise<Record<string, string>> {
  if (process.platform !== 'linux') throw new PlainError('--sandbox bubblewrap needs Linux. Use --sandbox docker.');
  const [bubblewrap, ripgrep] = await Promise.all([locate('bubblewrap', { log }), locate('ripgrep', { log })]);
  return { MANYHANDS_BWRAP: bubblewrap.path, MANYHANDS_RG: ripgrep.path, ...libraryPath(bubblewrap, ripgrep) };
}

function libraryPath(...tools: readonly Located[]): Record<string, string> {
  const directories = tools.flatMap(({ env }) => env['LD_LIBRARY_PATH']?.split(':') ?? []);
  return directories.length === 0 ? {} : { LD_LIBRARY_PATH: [...new Set(directories)].join(':') };
}

/** What `doctor` says about sandboxes, for a pool that did not start; null when it finds nothing wrong. */
export async function sandboxRemedy(dataDir: string): Promise<string | null> {
  const findings: Finding[] = await diagnose({ dataDir });
  const finding = findings.find(({ name }) => name === 'bubblewrap');
  return finding && !finding.ok ? `${finding.found}\n${finding.remedy ?? ''}`.trim() : null;
}
