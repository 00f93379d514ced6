/** `manyhands doctor`: what is found, what is missing, what to type. */
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { diagnose, type Finding } from '@manyhands/infra';
import type { Surroundings } from './surroundings.ts';

/** Answers the exit code: 1 when something needed is missing. */
export async function doctor(
  dataDir: string,
  { cwd, environment, stdout }: Pick<Surroundings, 'cwd' | 'environment' | 'stdout'>,
): Promise<number> {
  let place = resolve(cwd, dataDir);
  while (!existsSync(place)) place = dirname(place);
  const findings: Finding[] = await diagnose({ dataDir: place, environment });
  const width = Math.max(...findings.map(({ name }) => name.length));
  for (const { name, ok, optional, found, remedy } of findings) {
    const mark = ok ? 'ok     ' : optional ? 'absent ' : 'MISSING';
    stdout.write(`${mark}  ${name.padEnd(width)}  ${found}\n`);
    if (remedy !== null) stdout.write(`${' '.repeat(width + 11)}${optional ? 'if wanted: ' : 'type: '}${remedy}\n`);
  }
  const missing = findings.filter(({ ok, optional }) => !ok && !optional);
  stdout.write(
    missing.length === 0 ? '\nEverything that is needed is there.\n' : `\nMissing: ${missing.map(({ name }) => name).join(', ')}.\n`,
  );
  return missing.length === 0 ? 0 : 1;
}
