/** The variables that a process reads, as its sources say: the keys of its environment schema. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const PACKAGES = path.resolve(import.meta.dirname, '..', '..', 'packages');
const KEY = /^\s+([A-Z][A-Z0-9_]+):/gm;
/** Groups of variables that base/src/env.ts offers. */
const SHARED = /^export const (\w+) = \{(.*?)\};$/gms;

export function readVariables(service: string): Set<string> {
  const home = service === 'fake-model' ? 'model/src/fake' : `${service}/src`;
  const sources = readdirSync(path.join(PACKAGES, home), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => readFileSync(path.join(PACKAGES, home, file), 'utf8'));
  const own = sources.filter((text) => /envInt|envFlag|commonEnv|from 'zod'/.test(text)).join('\n');
  const shared = [...readFileSync(path.join(PACKAGES, 'base/src/env.ts'), 'utf8').matchAll(SHARED)]
    .filter(([, name]) => own.includes(`...${name}`))
    .map(([, , body]) => `\n  ${body!.trim()}`);
  return new Set([own, ...shared].flatMap((text) => [...text.matchAll(KEY)].map(([, name]) => name!)));
}
