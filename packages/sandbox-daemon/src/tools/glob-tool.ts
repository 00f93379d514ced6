/**
 * The `glob` tool: paths of regular files under a directory, newest first. The walk reads each directory once, whatever the pattern, skips
 * `.git` and `node_modules`, and ends after a number of entries.
 */
import type { Dirent } from 'node:fs';
import { lstat, opendir, realpath, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import type { ToolInput, ToolResult } from '@manyhands/contract';
import { type Confinement, fileFailure, isWithin } from '../files/confine.ts';
import { matchesName, parseGlob, type Segment } from './glob-pattern.ts';
import { quoted, success, ToolFailure } from './tool-result.ts';

const RESULTS_MAX = 200;
export const WALK_MAX_ENTRIES = 50_000;
export const WALK_MAX_DEPTH = 40;
export const SKIPPED_DIRECTORIES: ReadonlySet<string> = new Set(['.git', 'node_modules']);
const STATS_AT_ONCE = 32;

/** What of a pattern is still to be matched: the segments of an alternative from an index on. */
interface State {
  segments: Segment[];
  index: number;
}
interface Place {
  path: string;
  depth: number;
  states: State[];
}

export async function runGlob(confinement: Confinement, input: ToolInput<'glob'>, signal: AbortSignal): Promise<ToolResult> {
  if (isAbsolute(input.pattern))
    throw new ToolFailure('glob: absolute pattern not permitted; pass a relative pattern (and optionally path)');
  if (input.pattern.split(/[\\/{},]/).includes('..'))
    throw new ToolFailure('glob: ".." is not permitted in the pattern; name the directory in path');
  const shown = input.path || confinement.workspace;
  const root = await confinement.resolve('glob', shown);
  const isDirectory = await stat(root).then(
    (found) => found.isDirectory(),
    (error: unknown) => {
      throw fileFailure('glob', shown, error);
    },
  );
  if (!isDirectory) throw new ToolFailure(`glob: path ${quoted(shown)} is not a directory`);

  const { files, complete } = await walk(root, parseGlob(input.pattern), signal);
  const note = complete ? '' : `[the search ended after ${WALK_MAX_ENTRIES} entries; give a path or a narrower pattern]`;
  if (files.length === 0) return success(note === '' ? 'no matches' : `no matches\n${note}`);
  const newest = (await withTimes(files)).sort((a, b) => b.mtimeMs - a.mtimeMs || (a.path < b.path ? -1 : 1)).slice(0, RESULTS_MAX);
  const paths = newest.map((file) => file.path);
  return success((note === '' ? paths : [...paths, note]).join('\n'));
}

/** Every alternative with `**` also taken as nothing; the same place in a pattern once. */
function reachable(states: Iterable<State>): State[] {
  const found: State[] = [];
  const add = (state: State) => {
    if (found.some((known) => known.segments === state.segments && known.index === state.index)) return;
    found.push(state);
    if (state.segments[state.index]?.kind === 'deep') add({ segments: state.segments, index: state.index + 1 });
  };
  for (const state of states) add(state);
  return found;
}

/** The states after a name was taken. */
function step(states: State[], name: string): State[] {
  const after: State[] = [];
  for (const state of states) {
    const segment = state.segments[state.index];
    if (segment === undefined) continue;
    if (segment.kind === 'deep') {
      if (!name.startsWith('.')) after.push(state);
    } else if (matchesName(segment, name)) after.push({ segments: state.segments, index: state.index + 1 });
  }
  return reachable(after);
}

const isDone = (state: State) => state.index === state.segments.length;

async function walk(root: string, alternatives: Segment[][], signal: AbortSignal): Promise<{ files: string[]; complete: boolean }> {
  const files: string[] = [];
  const places: Place[] = [{ path: root, depth: 0, states: reachable(alternatives.map((segments) => ({ segments, index: 0 }))) }];
  let left = WALK_MAX_ENTRIES;
  for (let place = places.pop(); place !== undefined; place = places.pop()) {
    const directory = await opendir(place.path, { bufferSize: 256 }).catch(() => null);
    if (directory === null) continue;
    for await (const entry of directory) {
      if (signal.aborted) throw new ToolFailure('glob: interrupted');
      if (SKIPPED_DIRECTORIES.has(entry.name)) continue;
      if (left-- <= 0) return { files, complete: false };
      const states = step(place.states, entry.name);
      if (states.length === 0) continue;
      const path = join(place.path, entry.name);
      if (entry.isFile() && states.some(isDone)) files.push(path);
      else if (place.depth < WALK_MAX_DEPTH && states.some((state) => !isDone(state))) {
        if (entry.isDirectory()) places.push({ path, depth: place.depth + 1, states });
        else if (entry.isSymbolicLink()) {
          const inside = await followLink(root, path, entry, place.states);
          if (inside.length > 0) places.push({ path, depth: place.depth + 1, states: inside });
        }
      }
    }
  }
  return { files, complete: true };
}

/** A link to a directory under the root is followed where the pattern names it, not by `**`: so there is no loop. */
async function followLink(root: string, path: string, entry: Dirent, states: State[]): Promise<State[]> {
  const named = step(
    states.filter((state) => state.segments[state.index]?.kind === 'name'),
    entry.name,
  );
  if (named.length === 0) return [];
  const target = await realpath(path).catch(() => null);
  if (target === null || !isWithin(root, target)) return [];
  return (await stat(target).catch(() => null))?.isDirectory() ? named : [];
}

async function withTimes(files: string[]): Promise<{ path: string; mtimeMs: number }[]> {
  const timed: { path: string; mtimeMs: number }[] = [];
  for (let at = 0; at < files.length; at += STATS_AT_ONCE) {
    const batch = files.slice(at, at + STATS_AT_ONCE);
    const times = await Promise.all(
      batch.map((path) =>
        lstat(path)
          .then((found) => found.mtimeMs)
          .catch(() => 0),
      ),
    );
    for (const [index, path] of batch.entries()) timed.push({ path, mtimeMs: times[index]! });
  }
  return timed;
}
