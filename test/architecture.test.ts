/**
 * The shape of the repository: which package may import which, and where things belong. `turbo boundaries` checks the coarse part (tags,
 * declared dependencies); this checks the table of DESIGN 2 package by package. Every failure says what to do about it.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const LIBRARIES = ['contract', 'base', 'blobs', 'session-log', 'store', 'turn-queue', 'tools', 'model'];

/** DESIGN 2: what the sources of each package may import from the workspace. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  contract: [],
  base: ['contract'],
  infra: [],
  blobs: ['contract', 'base'],
  'session-log': ['contract', 'base', 'blobs'],
  store: ['contract', 'base', 'blobs'],
  'turn-queue': ['contract', 'base'],
  tools: ['contract', 'base'],
  model: ['contract', 'base'],
  harness: LIBRARIES,
  // Of `model` only its prices.
  gateway: ['contract', 'base', 'blobs', 'model', 'session-log', 'store', 'turn-queue'],
  'sandbox-pool': ['contract', 'base', 'blobs'],
  'sandbox-daemon': ['contract'],
  egress: ['contract', 'base', 'store'],
  console: ['contract'],
  cli: ['contract', 'base', 'infra'],
  'test-kit': ['contract', 'base', 'infra'],
};
/** Programs that a package starts as processes: declared as dependencies, so that they are built first, and never imported. */
const MAY_LAUNCH: Readonly<Record<string, readonly string[]>> = {
  cli: ['gateway', 'harness', 'sandbox-pool', 'egress', 'sandbox-daemon', 'model', 'console'],
  'sandbox-pool': ['sandbox-daemon'],
};
/** Nothing but tests uses these: a package, and suites that a package offers to its own and others' tests. */
const TEST_PACKAGE = 'test-kit';
const TEST_SUPPORT = /\/src\/(conformance\/|testing\.ts$)/;
const MAIN_LINES = 80;
const FILE_LINES = 600;
const FOLDER_FILES = 15;
/** Packages that still have circles of imports, most of them of types alone. Remove a name when its package passes; add none. */
const CIRCULAR: readonly string[] = ['harness', 'session-log'];

interface Manifest {
  name: string;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  exports?: Record<string, unknown>;
  scripts?: Record<string, string>;
}
interface SourceFile {
  /** Name of its package. */
  owner: string;
  /** Path from the root of the repository. */
  path: string;
  text: string;
  /** The text without comments. */
  code: string;
}

const PACKAGES = readdirSync(join(ROOT, 'packages')).filter((name) => existsSync(join(ROOT, 'packages', name, 'package.json')));
const MANIFESTS = new Map(PACKAGES.map((name) => [name, readJson(`packages/${name}/package.json`) as Manifest]));
const SOURCES = PACKAGES.flatMap((owner) => filesBelow(`packages/${owner}/src`).map((path) => readSource(owner, path)));
/** What runs in production: sources without suites for tests. */
const PRODUCTION = SOURCES.filter(({ path, owner }) => owner !== TEST_PACKAGE && !TEST_SUPPORT.test(path));
const TESTS = [
  ...PACKAGES.flatMap((owner) => filesBelow(`packages/${owner}/test`).map((path) => readSource(owner, path))),
  ...filesBelow('test').map((path) => readSource('test', path)),
];
const SCRIPT = /\.(ts|tsx|js|mjs)$/;

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(join(ROOT, path), 'utf8'));
}

function filesBelow(directory: string): string[] {
  if (!existsSync(join(ROOT, directory))) return [];
  return readdirSync(join(ROOT, directory), { recursive: true, encoding: 'utf8' })
    .filter((path) => !/(^|\/)(node_modules|dist|\.turbo|coverage)(\/|$)/.test(path))
    .map((path) => join(directory, path))
    .filter((path) => statSync(join(ROOT, path)).isFile());
}

function readSource(owner: string, path: string): SourceFile {
  const text = readFileSync(join(ROOT, path), 'utf8');
  const code = text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|\s)\/\/.*$/gm, '$1');
  return { owner, path, text, code };
}

/** Everything a script imports, statically, dynamically or in a type. */
function importsOf({ code, path }: SourceFile): string[] {
  if (!SCRIPT.test(path)) return [];
  const found = [
    ...code.matchAll(/^\s*(?:import|export)\b[^;'"`]*?\bfrom\s*['"]([^'"]+)['"]/gm),
    ...code.matchAll(/^\s*import\s*['"]([^'"]+)['"]/gm),
    ...code.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g),
  ];
  return found.map((match) => match[1] ?? '');
}

/** "@manyhands/store/testing" belongs to "store"; null for anything outside of the workspace. */
function workspacePackage(specifier: string): string | null {
  return /^@manyhands\/([^/]+)/.exec(specifier)?.[1] ?? null;
}

/** Circles of relative imports, types included: each as a path that ends with the file it begins with. */
function importCircles(files: readonly SourceFile[]): string[][] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const targets = (file: SourceFile) =>
    importsOf(file)
      .filter((specifier) => specifier.startsWith('.'))
      .flatMap((specifier) => byPath.get(join(dirname(file.path), specifier)) ?? []);
  const circles: string[][] = [];
  const finished = new Set<SourceFile>();
  const trail: SourceFile[] = [];
  function visit(file: SourceFile): void {
    if (finished.has(file)) return;
    const start = trail.indexOf(file);
    if (start >= 0) {
      circles.push([...trail.slice(start), file].map(({ path }) => path));
      return;
    }
    trail.push(file);
    for (const target of targets(file)) visit(target);
    trail.pop();
    finished.add(file);
  }
  for (const file of files) visit(file);
  return circles;
}

function lines(text: string): number {
  return text.split('\n').length - (text.endsWith('\n') ? 1 : 0);
}

test('every package is in the table of packages', () => {
  const problems = PACKAGES.filter((name) => MAY_IMPORT[name] === undefined).map(
    (name) => `packages/${name}: say in MAY_IMPORT (test/architecture.test.ts) and in docs/ARCHITECTURE.md what it may import`,
  );
  expect(problems).toEqual([]);
});

test('sources import only the workspace packages that their package may import and has declared', () => {
  const problems = SOURCES.flatMap((file) =>
    importsOf(file).flatMap((specifier) => {
      const target = workspacePackage(specifier);
      if (target === null || target === file.owner) return [];
      if (!MAY_IMPORT[file.owner]?.includes(target)) {
        const allowed = MAY_IMPORT[file.owner]?.join(', ') || 'no other package';
        return [
          `${file.path} imports ${specifier}: ${file.owner} may import ${allowed}. Services meet in "contract": put what both need there`,
        ];
      }
      if (MANIFESTS.get(file.owner)?.dependencies?.[`@manyhands/${target}`] === undefined) {
        return [`${file.path} imports ${specifier}: add "@manyhands/${target}" to the dependencies of packages/${file.owner}/package.json`];
      }
      return [];
    }),
  );
  expect(problems).toEqual([]);
});

test('packages declare only the workspace packages that they may import or launch', () => {
  const problems = PACKAGES.flatMap((name) => {
    const { dependencies = {} } = MANIFESTS.get(name) ?? { name };
    const allowed = [...(MAY_IMPORT[name] ?? []), ...(MAY_LAUNCH[name] ?? [])];
    return Object.keys(dependencies).flatMap((specifier) => {
      const target = workspacePackage(specifier);
      return target === null || allowed.includes(target)
        ? []
        : [`packages/${name}/package.json: remove "${specifier}": DESIGN 2 does not allow it`];
    });
  });
  expect(problems).toEqual([]);
});

test('sources import only outside packages that their own package declares', () => {
  const problems = PRODUCTION.flatMap((file) => {
    const { dependencies = {} } = MANIFESTS.get(file.owner) ?? { name: file.owner };
    return importsOf(file)
      .filter((specifier) => !specifier.startsWith('.') && !specifier.startsWith('node:') && workspacePackage(specifier) === null)
      .map((specifier) => /^(@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? specifier)
      .filter((name) => dependencies[name] === undefined)
      .map(
        (name) => `${file.path} imports ${name}: add it, with an exact version, to the dependencies of packages/${file.owner}/package.json`,
      );
  });
  expect(problems).toEqual([]);
});

test('infra, which runs before anything is installed, imports only modules of Node itself', () => {
  const problems = SOURCES.filter(({ owner }) => owner === 'infra').flatMap((file) =>
    importsOf(file)
      .filter((specifier) => !specifier.startsWith('.') && !specifier.startsWith('node:'))
      .map((specifier) => `${file.path} imports ${specifier}: do without it, or put the code into another package`),
  );
  expect(problems).toEqual([]);
  expect(Object.keys(MANIFESTS.get('infra')?.dependencies ?? {})).toEqual([]);
});

test('no file reaches into another package by path', () => {
  const problems = [...SOURCES, ...TESTS].flatMap((file) => {
    const home = file.owner === 'test' ? join(ROOT, 'test') : join(ROOT, 'packages', file.owner);
    return importsOf(file).flatMap((specifier) => {
      if (specifier.startsWith('.')) {
        const target = resolve(ROOT, dirname(file.path), specifier);
        return relative(home, target).startsWith('..') ? [`${file.path} imports ${specifier}: import the package by its name instead`] : [];
      }
      const inside = /^@manyhands\/[^/]+\/(src|dist)\b/.test(specifier);
      return inside ? [`${file.path} imports ${specifier}: import what the package exports; if it is not exported, export it by name`] : [];
    });
  });
  expect(problems).toEqual([]);
});

test('only tests use what is made for tests', () => {
  const problems = PRODUCTION.flatMap((file) =>
    importsOf(file)
      .filter((specifier) => {
        if (specifier.startsWith('.')) return TEST_SUPPORT.test(`/${relative(ROOT, resolve(ROOT, dirname(file.path), specifier))}`);
        return workspacePackage(specifier) === TEST_PACKAGE || /^@manyhands\/[^/]+\/testing$/.test(specifier);
      })
      .map((specifier) => `${file.path} imports ${specifier}: move the code that needs it into a test`),
  );
  expect(problems).toEqual([]);
});

test('every export is named', () => {
  const problems = [...SOURCES, ...TESTS]
    .filter(({ path, code }) => SCRIPT.test(path) && /^\s*export\s+\*/m.test(code))
    .map(({ path }) => `${path}: replace "export *" by the names, so that a reader sees what the package offers`);
  expect(problems).toEqual([]);
});

test('every file has one subject', () => {
  const problems = [...SOURCES, ...TESTS]
    .filter(({ path, text }) => SCRIPT.test(path) && !path.includes('.generated.') && lines(text) > FILE_LINES)
    .map(({ path, text }) => `${path} has ${lines(text)} lines: split it by subject, ${FILE_LINES} is the limit and 120 the aim`);
  expect(problems).toEqual([]);
});

test('no folder of sources is crowded', () => {
  const counts = new Map<string, number>();
  for (const { path } of SOURCES) {
    counts.set(dirname(path), (counts.get(dirname(path)) ?? 0) + 1);
  }
  const problems = [...counts]
    .filter(([, count]) => count > FOLDER_FILES)
    .map(([folder, count]) => `${folder} has ${count} files: make a room for each subject, ${FOLDER_FILES} files are the limit`);
  expect(problems).toEqual([]);
});

test('source files do not import each other in a circle', () => {
  const problems = PACKAGES.filter((name) => !CIRCULAR.includes(name))
    .flatMap((name) => importCircles(SOURCES.filter(({ owner }) => owner === name)))
    .map((circle) => `${circle.join(' → ')}: put what these files share into a file that imports none of them`);
  expect(problems).toEqual([]);
});

test('the main file of a process only reads the environment and connects parts', () => {
  const problems = SOURCES.filter(({ path, text }) => path.endsWith('/main.ts') && lines(text) > MAIN_LINES).map(
    ({ path, text }) => `${path} has ${lines(text)} lines: move logic into files that tests can reach; ${MAIN_LINES} is the limit`,
  );
  expect(problems).toEqual([]);
});

test('files and directories are named in kebab-case', () => {
  const problems = [...SOURCES, ...TESTS]
    .filter(({ path }) => !path.endsWith('/README.md'))
    .filter(({ path }) => path.split('/').some((part) => !/^\.?[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)*$/.test(part)))
    .map(({ path }) => `${path}: rename it, such as "session-log.ts"`);
  expect(problems).toEqual([]);
});

test('the environment is read in main files and launchers only', () => {
  const exempt = ['cli', 'infra'];
  const problems = PRODUCTION.filter(({ owner, path }) => !exempt.includes(owner) && !/([/-]main\.ts$|\/bin\/)/.test(path))
    .filter(({ code }) => /\bprocess\.env\b/.test(code))
    .map(({ path }) => `${path} reads process.env: take the value as a parameter; main.ts reads it once with loadEnv`);
  expect(problems).toEqual([]);
});

test('libraries and services log through the logger they are given', () => {
  // Text in backticks is left out: some of it is programs for others to run.
  const problems = PRODUCTION.filter(({ owner }) => owner !== 'cli' && owner !== 'infra')
    .filter(({ code }) => /\bconsole\.(log|error|warn|info|debug|trace)\b/.test(code.replaceAll(/`[^`]*`/g, '')))
    .map(({ path }) => `${path} writes to the console: take a Logger as a parameter`);
  expect(problems).toEqual([]);
});

test('names of Redis keys are written in one keys.ts per package, which lists them all', () => {
  const strays = SOURCES.filter(({ path, code }) => !path.endsWith('/keys.ts') && /['"`]\{?mh[:}]/.test(code)).map(
    ({ path }) => `${path} names a Redis key: make a function for it in the keys.ts of its package`,
  );
  const silent = SOURCES.filter(({ path, text }) => path.endsWith('/keys.ts') && !/^\/\*\*[\s\S]*?\| key[\s\S]*?\*\//.test(text)).map(
    ({ path }) => `${path}: begin with a table of all keys: key, type, life, who deletes it`,
  );
  expect([...strays, ...silent]).toEqual([]);
});

test('every package says what it is in its README.md', () => {
  const problems = PACKAGES.filter((name) => !existsSync(join(ROOT, 'packages', name, 'README.md'))).map(
    (name) => `packages/${name}: write a README.md (what it is, how it is used, what it promises)`,
  );
  expect(problems).toEqual([]);
});

test('versions of dependencies are exact', () => {
  const manifests = ['package.json', 'test/package.json', ...PACKAGES.map((name) => `packages/${name}/package.json`)];
  const problems = manifests.flatMap((path) => {
    const { dependencies = {}, devDependencies = {} } = readJson(path) as Manifest;
    return Object.entries({ ...dependencies, ...devDependencies })
      .filter(([, version]) => !/^(npm:(@[\w-]+\/)?[\w-]+@)?\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))
      .map(([name, version]) => `${path}: write the exact version of ${name} instead of "${version}"`);
  });
  expect(problems).toEqual([]);
});

test('the compiler of the build is the one of package.json, and not the one that reads the declarations of SDKs', () => {
  const { devDependencies } = readJson('package.json') as Manifest;
  const tsc = join('node_modules/.bin', readlinkSync(join(ROOT, 'node_modules/.bin/tsc')));
  expect(readJson(join(tsc, '../../package.json')), 'npm install may link the other one; type: npm ci').toMatchObject({
    name: 'typescript',
    version: devDependencies?.['typescript'],
  });
});

test('the lock file names no registry, so that everybody installs from their own', () => {
  const { packages } = readJson('package-lock.json') as { packages: Record<string, { resolved?: string; link?: boolean }> };
  const problems = Object.entries(packages)
    .filter(([, { resolved, link }]) => resolved !== undefined && !link)
    .map(
      ([place, { resolved }]) =>
        `package-lock.json, ${place}: remove "resolved": "${resolved}" (npm config: omit-lockfile-registry-resolved=true)`,
    );
  expect(problems).toEqual([]);
});
