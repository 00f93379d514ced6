/** What an engine must be for sandboxes, and why a probe may have failed. Everything found wrong is `configuration` with the remedy. */
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { AppError, ensureError, randomText } from '@manyhands/base';
import { z } from 'zod';
import { TRIAL_LABEL } from '../../images/image-trial.ts';
import { type Engine, engineFacts, hasStatus } from './engine.ts';

const EngineInfo = z.object({ SecurityOptions: z.array(z.string()).nullish() });
const WAIT_MS = 30_000;

export async function checkEngine(engine: Engine, runtime: string | null, patienceMs: number): Promise<{ version: string }> {
  const facts = await engineFacts(engine, patienceMs);
  const info = EngineInfo.parse(await engine.call('info', (docker) => docker.info() as Promise<unknown>));
  const security = info.SecurityOptions ?? [];
  const has = (name: string) => security.some((option) => option.split(',').includes(`name=${name}`));
  if (has('rootless'))
    throw new AppError(
      'configuration',
      `DOCKER_HOST: the engine at ${engine.host} is rootless: its users are not those of the pool's directories. Use an engine that runs as root, ` +
        'or MANYHANDS_SANDBOX_DRIVER=bubblewrap, which needs none.',
    );
  if (!has('seccomp') || security.some((option) => option.includes('name=seccomp') && option.includes('profile=unconfined')))
    throw new AppError(
      'configuration',
      `DOCKER_HOST: the engine at ${engine.host} runs containers without a seccomp filter; remove "seccomp-profile": "unconfined" from its ` +
        'daemon.json, or use a kernel with CONFIG_SECCOMP_FILTER.',
    );
  if (runtime !== null && !facts.runtimes.includes(runtime))
    throw new AppError(
      'configuration',
      `MANYHANDS_SANDBOX_RUNTIME: the engine at ${engine.host} knows no runtime ${JSON.stringify(runtime)}, but ${facts.runtimes.join(', ')}; ` +
        'register it in its daemon.json under "runtimes" and restart the engine.',
    );
  return { version: facts.version };
}

/**
 * Whether the engine's host sees the files of this pool: a container is given a directory with a random word in it and must find the word.
 * An engine on another host, or a pool in a container with paths of its own, would give sandboxes other directories, or none.
 */
export async function seesOurFiles(engine: Engine, image: string, poolRoot: string): Promise<boolean> {
  const directory = path.join(poolRoot, '.runtime', `seen-${randomText(8)}`);
  const word = randomText(16);
  await mkdir(directory, { recursive: true });
  try {
    await writeFile(path.join(directory, 'word'), word);
    await chmod(path.join(directory, 'word'), 0o444);
    await chmod(directory, 0o755);
    return await finds(engine, image, directory, word);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function finds(engine: Engine, image: string, directory: string, word: string): Promise<boolean> {
  let id: string | null = null;
  try {
    const container = await engine.call('make a container that looks for a file', (docker, abortSignal) =>
      docker.createContainer({
        ...{ Image: image, Entrypoint: ['/bin/sh', '-c', `[ "$(cat /seen/word)" = ${word} ]`], Cmd: [], abortSignal },
        Labels: { [TRIAL_LABEL]: image },
        HostConfig: {
          NetworkMode: 'none',
          LogConfig: { Type: 'none', Config: {} },
          Mounts: [{ Type: 'bind', Source: directory, Target: '/seen', ReadOnly: true }],
        },
      }),
    );
    ({ id } = container);
    const ended = engine.call('wait for it', (_, abortSignal) => container.wait({ condition: 'next-exit', abortSignal }), {
      deadlineMs: WAIT_MS,
    });
    const [{ StatusCode }] = (await Promise.all([
      ended,
      engine.call('start it', (_, abortSignal) => container.start({ abortSignal }), { deadlineMs: WAIT_MS }),
    ])) as [{ StatusCode: number }, unknown];
    return StatusCode === 0;
  } catch (error) {
    if (hasStatus(error, 400, 500) && /bind source path does not exist|not shared/i.test(ensureError(error).message)) return false;
    throw error;
  } finally {
    const made = id;
    if (made !== null)
      await engine
        .call('remove it', (docker, abortSignal) => docker.getContainer(made).remove({ force: true, abortSignal }))
        .catch(() => {
          // Found by the sweep of trials.
        });
  }
}

/** The message for a probe that failed although the engine does not see the pool's files. */
export function blindEngine(host: string, poolRoot: string): AppError {
  return new AppError(
    'configuration',
    `MANYHANDS_DATA: the Docker engine at ${host} does not see the files in ${poolRoot}. Sandboxes are given directories of the pool, so ` +
      "MANYHANDS_DATA must be the same path, with the same files, on the engine's host: when the pool runs in a container, mount the directory " +
      'at the path that it has on the host; when the engine is on another host, run the pool there.',
  );
}
