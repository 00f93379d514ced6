/** Whether node_modules is what the lock file says, and `npm ci` when it is not. */
import { existsSync, lstatSync, readFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { runStep } from '../processes/step.js';

/** @typedef {{ version?: string, link?: boolean, optional?: boolean, devOptional?: boolean, resolved?: string }} LockEntry */

/**
 * npm writes `node_modules/.package-lock.json` last, so an interrupted install has none; what it lists must also still be there.
 * @param {string} root
 * @returns {boolean}
 */
export function isInstalled(root) {
  const wanted = readLock(join(root, 'package-lock.json'));
  if (wanted === null)
    throw new Error(`${join(root, 'package-lock.json')} is missing or broken. Restore it: git checkout package-lock.json`);
  const installed = readLock(join(root, 'node_modules/.package-lock.json'));
  if (installed === null) return false;
  for (const [place, entry] of Object.entries(wanted)) {
    if (!place.includes('node_modules/')) continue;
    if (entry.link) {
      if (!lstatSync(join(root, place), { throwIfNoEntry: false })?.isSymbolicLink()) return false;
      continue;
    }
    const there = installed[place];
    // Packages for other platforms are in the lock file and rightly not on the disk.
    if (there === undefined && entry.optional) continue;
    if (there?.version !== entry.version || !existsSync(join(root, place, 'package.json'))) return false;
  }
  return true;
}

/**
 * @param {string} path
 * @returns {Record<string, LockEntry> | null}
 */
function readLock(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages ?? null;
  } catch {
    return null;
  }
}

/**
 * @param {string} root
 * @param {(line: string) => void} log
 */
export async function install(root, log) {
  const [command, ...first] = npmCommand();
  const args = [...first, 'ci', '--include=dev', '--no-audit', '--no-fund', '--no-progress', '--loglevel=error'];
  for (let attempt = 1; ; attempt++) {
    const result = await runStep(log, 'installing packages (npm ci)', command, args, { cwd: root, env: npmEnv() });
    if (result.code === 0) return;
    const passing = /ECONNRESET|ETIMEDOUT|EAI_AGAIN|ERR_SOCKET_TIMEOUT|ECONNREFUSED|ENOTFOUND|ENOTEMPTY/.test(result.output);
    if (passing && attempt === 1) {
      log('the network let npm down; trying once more');
      continue;
    }
    throw new Error(`npm ci failed (exit code ${result.code}):\n${result.output}\nSee what it says, then try again; or type: npm ci`);
  }
}

/**
 * The npm that started this script, or the one on PATH.
 * @returns {[string, ...string[]]}
 */
function npmCommand() {
  const script = process.env['npm_execpath'];
  return script && /npm-cli\.c?js$/.test(script) && existsSync(script) ? [process.execPath, script] : ['npm'];
}

/**
 * The environment for a nested npm: what an outer npm says about its own run is taken out, the user's settings stay.
 * @returns {NodeJS.ProcessEnv}
 */
export function npmEnv() {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) =>
        !/^npm_(lifecycle|package|command|config_(local_prefix|workspaces?|include_workspace_root|omit|include|only|production|dry_run|global|prefix|json|silent|loglevel|ignore_scripts)$)/i.test(
          name,
        ) && !/^(INIT_CWD|NODE_ENV)$/.test(name),
    ),
  );
  // Packages' scripts must find the node that runs this.
  env['PATH'] = [dirname(process.execPath), ...(process.env['PATH'] ?? '').split(delimiter)].join(delimiter);
  return env;
}
