/**
 * Finds what a test run left behind: processes, mounts, temporary directories, Docker engines. A process belongs to the run if it carries the
 * run's mark in its environment, if it was seen below this process while it ran, or if it is below such a one (in a container); so other runs on
 * the same machine are left alone.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { endEngineLeftovers, processTable, RUNTIME_PARENT } from '@manyhands/infra';

const LOOK_MS = 1_000;
/** What is ending may take this long. */
const GRACE_MS = 8_000;
export const PREFIX = 'manyhands-test-';

/** @param {string} run the mark: the value of MANYHANDS_TEST_RUN, also part of the names of temporary directories */
export function watchLeftovers(run) {
  const before = new Set(temporaryDirectories());
  /** Descendants seen so far, by pid and start time: they stay ours when their parents are gone. */
  const seen = new Set();
  const remember = () => {
    for (const entry of descendants(processTable(), new Set([process.pid]))) seen.add(identity(entry));
  };
  const timer = setInterval(remember, LOOK_MS);
  timer.unref();

  function processes() {
    remember();
    const table = processTable().filter(({ pid }) => pid !== process.pid);
    const ours = table.filter((entry) => seen.has(identity(entry)) || isMarked(entry.pid, run) || entry.command.includes(PREFIX + run));
    return [...ours, ...descendants(table, new Set(ours.map(({ pid }) => pid)))];
  }
  function directories() {
    // Names made by test-kit carry the mark of their run; others count if they are new.
    return temporaryDirectories().filter(
      (name) => !before.has(name) && (name.startsWith(PREFIX + run) || !/^manyhands-test-(r[0-9a-f]{6}|solo)-/.test(name)),
    );
  }
  function everything() {
    return [
      ...processes().map(({ pid, command }) => `process ${pid}: ${command}`),
      ...mounts(run).map((place) => `mount ${place}`),
      ...engines(run).map((data) => `Docker engine in ${data}`),
      ...directories().map((name) => `directory ${join(tmpdir(), name)}`),
    ];
  }
  return {
    /** One line for each thing left; waits a moment for what is just ending. */
    async look(graceMs = GRACE_MS) {
      const deadline = Date.now() + graceMs;
      while (everything().length > 0 && Date.now() < deadline) await sleep(100);
      return everything();
    },
    /** Ends and removes what is left, so that a failed run does not disturb the next. */
    async clean() {
      clearInterval(timer);
      for (let attempt = 0; attempt < 50; attempt++) {
        const left = processes();
        if (left.length === 0) break;
        for (const { pid } of left) end(pid);
        await sleep(50);
      }
      for (const data of engines(run)) await endEngineLeftovers(data).catch((error) => console.log(error.message));
      if (mounts(run).length > 0) return;
      for (const name of directories().filter((each) => each.startsWith(PREFIX + run)))
        rmSync(join(tmpdir(), name), { recursive: true, force: true });
    },
  };
}

/** @param {{ pid: number, start: string }} entry */
function identity({ pid, start }) {
  return `${pid}@${start}`;
}

/**
 * @param {import('@manyhands/infra').ProcessEntry[]} table
 * @param {Set<number>} family pids of the ancestors; their descendants are added
 */
function descendants(table, family) {
  const found = [];
  // A parent may stand after its child in the table, so it is read until nothing is added.
  for (let grew = true; grew; ) {
    grew = false;
    for (const entry of table) {
      if (family.has(entry.pid) || !family.has(entry.parent)) continue;
      family.add(entry.pid);
      found.push(entry);
      grew = true;
    }
  }
  return found;
}

/**
 * @param {number} pid
 * @param {string} run
 */
function isMarked(pid, run) {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`MANYHANDS_TEST_RUN=${run}`);
  } catch {
    return false;
  }
}

/** @param {string} run */
function mounts(run) {
  try {
    const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    return lines.map((line) => line.split(' ')[4] ?? '').filter((place) => place.includes(PREFIX + run));
  } catch {
    return [];
  }
}

/**
 * Data directories of engines of this run that have something outside of them.
 * @param {string} run
 */
function engines(run) {
  return list(RUNTIME_PARENT).flatMap((name) => {
    try {
      const { data } = JSON.parse(readFileSync(join(RUNTIME_PARENT, name, 'owner.json'), 'utf8'));
      return data.includes(PREFIX + run) ? [data] : [];
    } catch {
      return []; // One that comes or goes just now.
    }
  });
}

/** @param {string} directory */
function list(directory) {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function temporaryDirectories() {
  return readdirSync(tmpdir()).filter((name) => name.startsWith(PREFIX));
}

/** @param {number} pid */
function end(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}
