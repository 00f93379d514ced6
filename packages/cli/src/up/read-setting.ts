/** A setting of the user: the environment variable NAME, or the content of the file that NAME_FILE names. */
import { readIfPresent } from '../durable-file.ts';
import { UsageError } from '../usage-error.ts';
import type { Environment } from './processes/child-environment.ts';

export function readSetting(environment: Environment, name: string): string | undefined {
  const file = environment[`${name}_FILE`];
  if (file === undefined || file === '') return environment[name] || undefined;
  const text = readIfPresent(file);
  if (text === null) throw new UsageError(`${name}_FILE: there is no file ${file}.`);
  return text.trim() || undefined;
}
