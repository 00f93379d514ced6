/** The processes of this machine, as far as this user may see them. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/**
 * @typedef {object} ProcessEntry
 * @property {number} pid
 * @property {number} parent pid of the parent
 * @property {string} start with the pid it names one process for ever
 * @property {string} command the command line, arguments joined by spaces
 * @property {string} directory working directory; empty where it may not be read
 */

/** @returns {ProcessEntry[]} zombies left out: they hold nothing */
export function processTable() {
  return process.platform === 'linux' ? fromProc() : fromPs();
}

function fromProc() {
  /** @type {ProcessEntry[]} */
  const entries = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (fields[0] === 'Z' || fields[0] === 'X') continue;
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      entries.push({ pid: Number(name), parent: Number(fields[1]), start: fields[19] ?? '', command, directory: workingDirectory(name) });
    } catch {
      // It ended while it was being read.
    }
  }
  return entries;
}

/** @param {string} pid */
function workingDirectory(pid) {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return '';
  }
}

function fromPs() {
  const answer = spawnSync('ps', ['-axo', 'pid=,ppid=,stat=,lstart=,command='], { encoding: 'utf8', maxBuffer: 1 << 26 });
  /** @type {ProcessEntry[]} */
  const entries = [];
  for (const line of answer.stdout.split('\n')) {
    const match = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(\S+\s+\S+\s+\S+\s+\S+\s+\S+)\s+(.*)$/.exec(line);
    if (!match || match[3]?.startsWith('Z')) continue;
    entries.push({ pid: Number(match[1]), parent: Number(match[2]), start: match[4] ?? '', command: match[5] ?? '', directory: '' });
  }
  return entries;
}
