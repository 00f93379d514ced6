/** What `up` says once everything runs. */
import { snippet } from '../snippet.ts';

export interface BannerFacts {
  url: string;
  apiKey: string;
  dataDir: string;
  /** Model id that the snippet names. */
  model: string;
  usesDouble: boolean;
}

export function banner({ url, apiKey, dataDir, model, usesDouble }: BannerFacts): string {
  const double = [
    '',
    'No model key is set, so a scripted model double answers: it uses real tools in a real sandbox, but it is no model.',
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
    ...(usesDouble ? double : []),
    '',
    'Try it: save this as hello.mjs in this directory, then run: node hello.mjs',
    '',
    '```js',
    snippet({ url, apiKey, model }).trimEnd(),
    '```',
    '',
    'Or talk to it: node packages/cli/dist/main.js chat',
    'Ctrl-C stops everything.',
    '',
  ].join('\n');
}
