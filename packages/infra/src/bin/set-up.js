/**
 * What every npm script runs first: packages installed, sources built, nothing else touched. Uses Node's own modules only, so that it
 * works on a fresh clone. Two runs at once wait for each other.
 *
 * --build          also build (without it: install only)
 * --quiet-success  say nothing at the end
 */
const MINIMUM_MAJOR = 20;
const MINIMUM_MINOR = 19;
const PARENT_CHECK_MS = 500;

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < MINIMUM_MAJOR || (major === MINIMUM_MAJOR && minor < MINIMUM_MINOR)) {
  process.stderr.write(
    `Manyhands needs Node.js ${MINIMUM_MAJOR}.${MINIMUM_MINOR} or newer; this is ${process.versions.node}.\nGet it from https://nodejs.org/en/download\n`,
  );
  process.exit(1);
}

const log = (/** @type {string} */ line) => process.stderr.write(`set-up: ${line}\n`);

// A shell that npm ends does not forward the signal to its child, which notices that its parent is gone.
const parent = process.ppid;
setInterval(() => {
  if (process.ppid !== parent) process.exit(143);
}, PARENT_CHECK_MS).unref();
for (const [signal, code] of /** @type {const} */ ([
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
])) {
  // Children are tied to this process and end with it.
  process.once(signal, () => process.exit(code));
}

try {
  await setUp(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  process.exit(1);
}

/** @param {readonly string[]} args */
async function setUp(args) {
  const unknown = args.filter((arg) => arg !== '--build' && arg !== '--quiet-success');
  if (unknown.length > 0) throw new Error(`set-up: unknown option ${unknown[0]}; known are --build and --quiet-success`);
  const { mkdirSync } = await import('node:fs');
  const { fileURLToPath } = await import('node:url');
  const { join } = await import('node:path');
  const { withDirectoryLock } = await import('../files/directory-lock.js');
  const { install, isInstalled } = await import('../checkout/installation.js');
  const { build, isBuilt } = await import('../checkout/build.js');
  const root = fileURLToPath(new URL('../../../../', import.meta.url)).replace(/\/$/, '');
  const wantBuild = args.includes('--build');

  const done = () => isInstalled(root) && (!wantBuild || isBuilt(root));
  if (!done()) {
    mkdirSync(join(root, '.turbo'), { recursive: true });
    const work = async () => {
      if (!isInstalled(root)) await install(root, log);
      if (wantBuild && !isBuilt(root)) await build(root, log);
    };
    await withDirectoryLock(join(root, '.turbo', 'set-up.lock'), work, (owner) =>
      log(`waiting for process ${owner}, which does the same …`),
    );
  }
  if (!args.includes('--quiet-success')) log(wantBuild ? 'packages are installed and everything is built' : 'packages are installed');
}
