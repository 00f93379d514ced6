/** `manyhands keys`: our own endpoints for API keys, through the official client for its headers, retries and errors. */
import { type ConnectionOptions, connect, findInstance } from './instance.ts';
import type { Surroundings } from './surroundings.ts';
import { UsageError } from './usage-error.ts';

const PATH = '/v1/manyhands/api_keys';

interface ApiKey {
  id: string;
  name: string;
  scopes: string[];
  hint: string;
  created_at: string;
  revoked_at: string | null;
}
interface KeyPage {
  data: ApiKey[];
  next_page: string | null;
}

/** The text goes to stdout alone, so that a script may keep it; the rest to stderr. */
export async function createKey(
  name: string,
  options: ConnectionOptions & { operator?: boolean },
  surroundings: Surroundings,
): Promise<void> {
  const scopes = options.operator ? ['api', 'operator'] : ['api'];
  const client = connect(findInstance(options, surroundings));
  // Not retried: a repeated request would make a second key.
  const made = await client.post<ApiKey & { key: string }>(PATH, { body: { name, scopes }, maxRetries: 0 });
  surroundings.stderr.write(`${made.id} (${made.scopes.join(', ')}). This is the only time its text is shown:\n`);
  surroundings.stdout.write(`${made.key}\n`);
}

export async function listKeys(options: ConnectionOptions & { all?: boolean }, surroundings: Surroundings): Promise<void> {
  const client = connect(findInstance(options, surroundings));
  const rows = [['ID', 'NAME', 'SCOPES', 'ENDS IN', 'CREATED', 'REVOKED']];
  let page: string | null = null;
  do {
    const query: Record<string, string> = {
      limit: '100',
      ...(options.all ? { include_revoked: 'true' } : {}),
      ...(page === null ? {} : { page }),
    };
    const answer: KeyPage = await client.get<KeyPage>(PATH, { query });
    for (const key of answer.data) rows.push([key.id, key.name, key.scopes.join(','), key.hint, key.created_at, key.revoked_at ?? '-']);
    page = answer.next_page;
  } while (page !== null);
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  for (const row of rows)
    surroundings.stdout.write(
      `${row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd()}\n`,
    );
}

export async function revokeKey(id: string, options: ConnectionOptions, surroundings: Surroundings): Promise<void> {
  if (!/^[A-Za-z0-9_-]+$/.test(id)) throw new UsageError('id: give the id of a key, such as "manyhands keys list" shows.');
  await connect(findInstance(options, surroundings)).delete(`${PATH}/${id}`);
  surroundings.stderr.write(`${id} is revoked.\n`);
}
