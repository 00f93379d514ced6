/** An outside program by path, or by name along PATH. */
import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import { AppError } from '@manyhands/base';

/** Throws `configuration` naming the variable when there is no such program. */
export function findProgram(variable: string, program: string, searchPath: string): string {
  const candidates = program.includes('/')
    ? [path.resolve(program)]
    : searchPath.split(path.delimiter).map((directory) => path.join(directory, program));
  for (const candidate of candidates) {
    try {
      accessSync(candidate, constants.X_OK);
      return candidate;
    } catch {
      // The next one.
    }
  }
  throw new AppError('configuration', `${variable}: ${program} was not found or may not be run; give the path of the program`);
}
