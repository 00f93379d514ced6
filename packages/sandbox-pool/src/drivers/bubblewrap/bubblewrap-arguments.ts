/**
 * The command line of one sandbox, in two parts: what bwrap reads from its `--args` file (so that no process list shows host paths), and the
 * small shell script that holds it.
 *
 * With a uid of its own (pool with root's powers) no user namespace is made: bwrap sets everything up with root's powers, keeps only what
 * changing the user takes, and `setpriv` gives the rest up before anything of ours or of the agent's runs. A pool without those powers lets
 * bwrap make a user namespace.
 */
import { SANDBOX_PATHS } from '@manyhands/contract';
import type { SandboxDirectory } from '../../files/sandbox-directory.ts';
import type { SandboxLimits } from '../driver.ts';
import { INSIDE, type Programs, programArguments, sandboxEnvironment, systemArguments } from './system-view.ts';

/** The user inside, where a user namespace gives it any number. */
export const NAMESPACE_UID = 1000;
const SHM_BYTES = 64 * 1024 * 1024;
const OPEN_FILES_SOFT = 1024;
const OPEN_FILES_HARD = 4096;
/** The kernel takes sandboxes first when the whole host runs out of memory. */
const OOM_SCORE = 600;

const OPEN_PARENTS = [
  ...['/etc', '/etc/ssl', '/etc/pki', '/etc/pki/tls', '/etc/pki/ca-trust', '/opt', '/opt/manyhands', '/opt/manyhands/bin'],
  ...['/run', '/mnt', '/mnt/session', '/var', '/var/cache'],
];

export interface SandboxRecipe {
  directory: SandboxDirectory;
  /** User id on the host, or null for the pool's own. */
  uid: number | null;
  limits: SandboxLimits;
  programs: Programs;
  /** From provideEtc. */
  etcArguments: string[];
  /** Whether control groups hold memory and processes; otherwise resource limits must. */
  grouped: boolean;
}

export function bubblewrapArguments(recipe: SandboxRecipe): string[] {
  const { directory, uid, limits } = recipe;
  return [
    ...['--unshare-ipc', '--unshare-pid', '--unshare-net', '--unshare-uts', '--unshare-cgroup-try'],
    ...(uid === null ? ['--unshare-user', '--uid', String(NAMESPACE_UID), '--gid', String(NAMESPACE_UID)] : []),
    ...['--die-with-parent', '--new-session', '--hostname', 'sandbox', '--cap-drop', 'ALL'],
    ...(uid === null ? [] : ['--cap-add', 'CAP_SETUID', '--cap-add', 'CAP_SETGID', '--cap-add', 'CAP_SETPCAP']),
    '--clearenv',
    ...Object.entries(sandboxEnvironment()).flatMap(([name, value]) => ['--setenv', name, value]),
    // Parents that bwrap makes by itself are closed to anybody but root.
    ...OPEN_PARENTS.flatMap((parent) => ['--perms', '0755', '--dir', parent]),
    ...systemArguments(),
    ...recipe.etcArguments,
    ...programArguments(recipe.programs),
    ...['--proc', '/proc', '--dev', '/dev'],
    ...['--perms', '1777', '--size', String(SHM_BYTES), '--tmpfs', '/dev/shm', '--remount-ro', '/dev'],
    ...['--perms', '1777', '--size', String(limits.tmpBytes), '--tmpfs', '/tmp', '--symlink', '/tmp', '/var/tmp'],
    ...['--bind', directory.workspace, SANDBOX_PATHS.workspace],
    ...['--bind', directory.outputs, SANDBOX_PATHS.outputs],
    ...['--ro-bind', directory.uploads, SANDBOX_PATHS.uploads],
    ...['--bind', directory.cache, '/var/cache/agent'],
    ...['--bind', directory.run, SANDBOX_PATHS.run],
    ...['--ro-bind', directory.egress, SANDBOX_PATHS.egress],
    ...['--bind', directory.exchange, SANDBOX_PATHS.exchange],
    ...['--remount-ro', '/', '--chdir', SANDBOX_PATHS.workspace],
  ];
}

/** What bwrap runs inside: drop what is left, set the limits that belong inside, start the daemon. */
export function innerCommand(recipe: SandboxRecipe): string[] {
  const { uid, limits, grouped } = recipe;
  const resource = [`--nproc=${limits.pids}:${limits.pids}`];
  // Without a control group: at least no single process takes more memory than the sandbox may.
  if (!grouped) resource.push(`--data=${limits.memoryBytes}:${limits.memoryBytes}`);
  const drop = ['--no-new-privs', '--inh-caps=-all', '--ambient-caps=-all'];
  return [
    ...(uid === null
      ? []
      : ['/usr/bin/setpriv', '--reuid', String(uid), '--regid', String(uid), '--clear-groups', '--bounding-set=-all', ...drop]),
    // Inside, so that with a user namespace the count is that of the sandbox alone, not of everything its user runs on the host.
    ...['/usr/bin/prlimit', ...resource, '--'],
    ...[INSIDE.node, INSIDE.daemon],
  ];
}

/** Named in the process list; with the directory behind it, it says whose a process is. */
export const HOLDER_NAME = 'manyhands-sandbox';

/**
 * The holder: a shell (bash, for its large descriptor numbers) that outlives the pool and ends with bwrap. bwrap dies with its parent, so the
 * parent must not be the pool. It closes whatever descriptors the pool had inherited, then notes who it is; if it cannot (the directory was
 * taken away meanwhile), it ends. $1 is the sandbox's directory,
 * $2 the filter, then `cgroup.procs` files up to `--`, then the command.
 */
export const HOLDER_SCRIPT = `set -e
umask 022
for file in /proc/self/fd/*; do
  number=\${file##*/}
  if [ "$number" -gt 2 ]; then eval "exec $number>&-"; fi
done
read -r line < /proc/self/stat
printf '%s\\n' "$line" > "$1/driver/holder"
directory=$1 filter=$2
shift 2
while [ "$1" != -- ]; do echo 0 > "$1"; shift; done
shift
echo ${OOM_SCORE} > /proc/self/oom_score_adj
exec 2>> "$directory/driver/log"
"$@" 3< "$directory/driver/arguments" 4< "$filter" 5> "$directory/driver/information"
exit $?`;

export function holderCommand(recipe: SandboxRecipe, bwrap: string, filterFile: string, groupFiles: string[]): string[] {
  const files = `--fsize=${recipe.limits.fileBytes}:${recipe.limits.fileBytes}`;
  return [
    ...['-c', HOLDER_SCRIPT, HOLDER_NAME, recipe.directory.root, filterFile, ...groupFiles, '--'],
    ...['prlimit', files, `--nofile=${OPEN_FILES_SOFT}:${OPEN_FILES_HARD}`, '--core=0:0', '--'],
    ...[bwrap, '--args', '3', '--seccomp', '4', '--info-fd', '5', ...innerCommand(recipe)],
  ];
}
