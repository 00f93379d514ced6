/**
 * What a sandbox may not ask of the kernel, as data. Numbers are from the kernel's own tables (arch/x86 and asm-generic); null means that
 * the architecture has no such call. Everything not listed is allowed: the sandbox has no capability, so the list holds what needs none,
 * what widens the kernel's attack surface, and what reaches past the sandbox's namespaces.
 */

/** errno values, the same on both architectures. */
export const ERRNO = { EPERM: 1, ENOSYS: 38, EAFNOSUPPORT: 97 } as const;

/** Call numbers: [x86_64, arm64]. All refused with EPERM. */
export const DENIED_CALLS: Readonly<Record<string, readonly [number | null, number | null]>> = {
  // Mounts and roots.
  mount: [165, 40],
  umount2: [166, 39],
  pivot_root: [155, 41],
  chroot: [161, 51],
  open_tree: [428, 428],
  move_mount: [429, 429],
  fsopen: [430, 430],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  fspick: [433, 433],
  mount_setattr: [442, 442],
  open_tree_attr: [467, 467],
  // Namespaces; clone is filtered by its flags below.
  unshare: [272, 97],
  setns: [308, 268],
  // Other processes.
  ptrace: [101, 117],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  process_madvise: [440, 440],
  pidfd_getfd: [438, 438],
  kcmp: [312, 272],
  // Kernel keyrings are not namespaced.
  keyctl: [250, 219],
  add_key: [248, 217],
  request_key: [249, 218],
  // Large attack surface.
  bpf: [321, 280],
  perf_event_open: [298, 241],
  userfaultfd: [323, 282],
  io_uring_setup: [425, 425],
  io_uring_enter: [426, 426],
  io_uring_register: [427, 427],
  fanotify_init: [300, 262],
  lookup_dcookie: [212, 18],
  memfd_secret: [447, 447],
  // Files by handle reach outside the mounts.
  open_by_handle_at: [304, 265],
  // The machine itself.
  kexec_load: [246, 104],
  kexec_file_load: [320, 294],
  init_module: [175, 105],
  finit_module: [313, 273],
  delete_module: [176, 106],
  create_module: [174, null],
  query_module: [178, null],
  get_kernel_syms: [177, null],
  reboot: [169, 142],
  swapon: [167, 224],
  swapoff: [168, 225],
  acct: [163, 89],
  syslog: [103, 116],
  vhangup: [153, 58],
  quotactl: [179, 60],
  quotactl_fd: [443, 443],
  nfsservctl: [180, 42],
  settimeofday: [164, 170],
  clock_settime: [227, 112],
  clock_adjtime: [305, 266],
  adjtimex: [159, 171],
  sethostname: [170, 161],
  setdomainname: [171, 162],
  iopl: [172, null],
  ioperm: [173, null],
  uselib: [134, null],
  ustat: [136, null],
  sysfs: [139, null],
  _sysctl: [156, null],
  vserver: [236, null],
};

/** clone3 passes its flags by pointer, which a filter cannot read: ENOSYS makes the C library fall back to clone. */
export const CLONE3: readonly [number, number] = [435, 435];

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
export const NAMESPACE_FLAGS = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000;
export const CLONE: readonly [number, number] = [56, 220];

/** TIOCSTI and TIOCLINUX type into somebody's terminal. */
export const DENIED_IOCTLS = [0x5412, 0x541c] as const;
export const IOCTL: readonly [number, number] = [16, 29];

/** PER_LINUX and "only ask". */
export const ALLOWED_PERSONALITIES = [0, 0xffffffff] as const;
export const PERSONALITY: readonly [number, number] = [135, 92];

/** AF_UNIX, AF_INET, AF_INET6, AF_NETLINK. Others (vsock above all) are not bound to the network namespace or are attack surface. */
export const ALLOWED_SOCKET_FAMILIES = [1, 2, 10, 16] as const;
export const SOCKET: readonly [number, number] = [41, 198];
