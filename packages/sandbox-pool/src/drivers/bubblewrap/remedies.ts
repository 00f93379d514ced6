/** What to type when bubblewrap cannot make sandboxes on a host. */
const REMEDIES: [sign: RegExp, remedy: string][] = [
  [
    /No permissions to create (a )?new namespace|uid map|user namespaces|unshare|creating new namespace failed/i,
    'This host does not let ordinary users make user namespaces. Allow it with `sysctl -w kernel.unprivileged_userns_clone=1` (older Debian), ' +
      '`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu 24.04 and later) and `sysctl -w user.max_user_namespaces=10000`, ' +
      'or run the pool as root. In a container, start it with `--privileged`.',
  ],
  [
    /mount|Operation not permitted|RTM_NEWADDR|loopback|pivot_root/i,
    'The pool may not mount or make network namespaces here. In a container, start it with `--privileged`; on a host, run the pool as root.',
  ],
  [/Unknown option|unrecognized option/i, 'This bubblewrap is too old; version 0.7 or later is needed.'],
  [/setpriv|prlimit/i, 'The programs setpriv and prlimit are missing; install util-linux.'],
];

export function explainFailure(stderr: string): string {
  const said = stderr.trim() || 'it ended without a word';
  const remedy = REMEDIES.find(([sign]) => sign.test(said))?.[1];
  return `bubblewrap cannot make a sandbox here: ${said}${remedy ? `\n${remedy}` : ''}`;
}
