/**
 * What the fake model is called where others name it, and what it was called before, when it was the model double. Stored conversations hold
 * the old fence and model id, and programs may use the other old names: each is taken as the first of its row.
 */
export const NAMES = {
  /** After the three backticks that open a script. */
  fence: ['fake', 'double'],
  modelId: ['manyhands-fake', 'manyhands-double'],
  journal: ['/fake/journal', '/double/journal'],
} as const satisfies Record<string, readonly [now: string, ...before: string[]]>;

/** Part of the signature of stored thinking blocks, which come back: it stays as it was. */
export const SIGNATURE_SEED = 'manyhands-double';

/** Variables by what they were called before. */
const VARIABLES = {
  MANYHANDS_DOUBLE_HOST: 'MANYHANDS_FAKE_MODEL_HOST',
  MANYHANDS_DOUBLE_PORT: 'MANYHANDS_FAKE_MODEL_PORT',
  MANYHANDS_DOUBLE_CONTEXT_WINDOW: 'MANYHANDS_FAKE_MODEL_CONTEXT_WINDOW',
} as const;

type Environment = Readonly<Record<string, string | undefined>>;

/** The environment under today's names, and a warning for each old one in use. A variable that is set under both names has its new value. */
export function renameVariables(env: Environment): { env: Environment; warnings: string[] } {
  const renamed: Record<string, string | undefined> = { ...env };
  const warnings: string[] = [];
  for (const [before, now] of Object.entries(VARIABLES))
    for (const suffix of ['', '_FILE']) {
      const value = env[before + suffix];
      if (!value) continue;
      if (!env[now] && !env[`${now}_FILE`]) renamed[now + suffix] = value;
      warnings.push(`${before + suffix} is called ${now + suffix} now; the old name will be gone in a later version`);
    }
  return { env: renamed, warnings };
}
