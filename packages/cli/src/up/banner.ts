/** The text that `up` prints once everything runs. */
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { snippet } from '../snippet.ts';

export interface BannerFacts {
  url: string;
  apiKey: string;
  dataDir: string;
  /** Model id that the snippet names. */
  model: string;
  usesFakeModel: boolean;
  /** Where metrics are; null for nowhere. */
  metrics: string | null;
  cwd: string;
}

/** The clone: a file in it finds the SDK, and the command is in it. */
const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const DEFAULT_DATA = '.manyhands';

export function banner({ url, apiKey, dataDir, model, usesFakeModel, metrics, cwd }: BannerFacts): string {
  const place = relative(cwd, ROOT) || 'this directory';
  const command = join(relative(cwd, ROOT), 'packages/cli/dist/main.js');
  const data = dataDir === join(cwd, DEFAULT_DATA) ? '' : ` --data ${dataDir}`;
  const fakeModel = [
    '',
    'No model key is set, so a scripted fake model answers: it uses real tools in a real sandbox, but it is no model.',
    'For a real one set MANYHANDS_MODEL_API_KEY (or ANTHROPIC_API_KEY), and MANYHANDS_MODEL_BASE_URL for another endpoint than',
    'https://api.anthropic.com; then start again.',
  ];
  return [
    '',
    'Manyhands is ready.',
    '',
    `  URL      ${url}`,
    `  API key  ${apiKey}`,
    `  Queues   ${url}/admin/queues   (password: the API key)`,
    `  Logs     ${dataDir}/logs`,
    ...(metrics === null ? [] : [`  Metrics  ${metrics}`]),
    ...(usesFakeModel ? fakeModel : []),
    '',
    `Try it: save this as hello.mjs in ${place}, then run: node ${join(relative(cwd, ROOT), 'hello.mjs')}`,
    '',
    '```js',
    snippet({ url, apiKey, model }).trimEnd(),
    '```',
    '',
    `Or talk to it: node ${command} chat${data}`,
    'Ctrl-C stops everything.',
    '',
  ].join('\n');
}
