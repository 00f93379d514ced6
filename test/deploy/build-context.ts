/** What an image is built from: the files that .dockerignore leaves, as a tar. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Readable } from 'node:stream';

/** Relative paths of all files that go to the engine, sorted. */
export function contextFiles(root: string): string[] {
  const rules = readRules(readFileSync(path.join(root, '.dockerignore'), 'utf8'));
  const found: string[] = [];
  const walk = (directory: string) => {
    for (const entry of readdirSync(path.join(root, directory), { withFileTypes: true })) {
      const name = path.posix.join(directory, entry.name);
      // A directory that is out may hold what is in again, so only these are left out whole.
      if (entry.name === 'node_modules' || entry.name === '.git') continue;
      if (entry.isDirectory()) walk(name);
      else if (isIncluded(rules, name)) found.push(name);
    }
  };
  walk('');
  return found.sort();
}

/** As the docker command does, the Dockerfile and the rules go along, so that the engine can read the one and leave both out. */
export function contextTar(root: string, dockerfile: string): Readable {
  const tar = spawn('tar', ['-c', '-C', root, '--null', '--no-recursion', '-T', '-'], { stdio: ['pipe', 'pipe', 'inherit'] });
  tar.stdin.end([...new Set([...contextFiles(root), dockerfile, '.dockerignore'])].join('\0'));
  return tar.stdout;
}

interface Rule {
  pattern: RegExp;
  include: boolean;
}

function readRules(text: string): Rule[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'));
  return lines.map((line) => {
    const include = line.startsWith('!');
    const glob = line.trim().slice(include ? 1 : 0);
    if (/[?[\]\\]/.test(glob)) throw new Error(`.dockerignore: not understood: ${line}`);
    const source = glob
      .split(/(\*\*\/|\*)/)
      .map((part) => (part === '**/' ? '(?:.*/)?' : part === '*' ? '[^/]*' : part.replaceAll(/[.+^${}()|]/g, '\\$&')))
      .join('');
    return { pattern: new RegExp(`^${source}(?:/|$)`), include };
  });
}

/** The last rule that matches the path, or a directory above it, decides. */
function isIncluded(rules: Rule[], name: string): boolean {
  return rules.findLast(({ pattern }) => pattern.test(name))?.include ?? true;
}
