/** The outside programs Manyhands runs, and how each package manager calls them. */

/** @typedef {'redis' | 'nats' | 'bubblewrap' | 'ripgrep' | 'mmdebstrap'} Tool */

/**
 * @typedef {object} ToolFacts
 * @property {readonly string[]} commands names to look for, the preferred one first
 * @property {readonly (readonly string[])[]} debian sets of Debian packages that hold the program; the first set that exists is taken
 * @property {readonly [number, number]} minimum oldest usable version
 * @property {Readonly<Record<'apt-get' | 'dnf' | 'pacman' | 'apk' | 'brew', string>>} install package names per package manager
 */

/** @type {Readonly<Record<Tool, ToolFacts>>} */
export const TOOLS = {
  redis: {
    commands: ['redis-server', 'valkey-server'],
    // In Debian redis-server is a link to a program of the tools package.
    debian: [
      ['redis-server', 'redis-tools'],
      ['valkey-server', 'valkey-tools'],
    ],
    // Sharded publish and subscribe.
    minimum: [7, 0],
    install: { 'apt-get': 'redis-server', dnf: 'valkey', pacman: 'valkey', apk: 'redis', brew: 'redis' },
  },
  nats: {
    commands: ['nats-server'],
    debian: [['nats-server']],
    minimum: [2, 9],
    install: { 'apt-get': 'nats-server', dnf: 'nats-server', pacman: 'nats-server', apk: 'nats-server', brew: 'nats-server' },
  },
  bubblewrap: {
    commands: ['bwrap'],
    debian: [['bubblewrap']],
    minimum: [0, 4],
    install: { 'apt-get': 'bubblewrap', dnf: 'bubblewrap', pacman: 'bubblewrap', apk: 'bubblewrap', brew: 'bubblewrap' },
  },
  ripgrep: {
    commands: ['rg'],
    debian: [['ripgrep']],
    minimum: [11, 0],
    install: { 'apt-get': 'ripgrep', dnf: 'ripgrep', pacman: 'ripgrep', apk: 'ripgrep', brew: 'ripgrep' },
  },
  // Makes the base image of Docker sandboxes where no registry is reachable. It finds its helpers on PATH, in its own directory.
  mmdebstrap: {
    commands: ['mmdebstrap'],
    debian: [['mmdebstrap']],
    minimum: [1, 0],
    install: { 'apt-get': 'mmdebstrap', dnf: 'mmdebstrap', pacman: 'mmdebstrap', apk: 'mmdebstrap', brew: 'mmdebstrap' },
  },
};

/**
 * What every run needs.
 * @type {readonly Tool[]}
 */
export const TOOL_NAMES = ['redis', 'nats', 'bubblewrap', 'ripgrep'];
