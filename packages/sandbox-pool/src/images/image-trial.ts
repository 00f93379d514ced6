/** Tries an image: a container without network runs the programs that a sandbox must have. */
import { AppError } from '@manyhands/base';
import type Docker from 'dockerode';
import type { Engine } from '../drivers/docker/engine.ts';

/** Marks the containers of trials, so that one left by a killed process is found. */
export const TRIAL_LABEL = 'dev.manyhands.trial';
const TRIAL_DEADLINE_MS = 120_000;
const ABANDONED_AFTER_S = 600;
/** What the sandbox daemon needs, then what agents are told they have. */
export const NEEDED_BY_DAEMON = ['node --version', 'bash --version', 'tar --version', 'gzip --version', 'mkfifo --version'];
export const NEEDED_BY_AGENTS = ['git --version', 'python3 -m pip --version', 'rg --version', 'curl --version', 'jq --version'];

/** Throws `configuration` with what the image said. */
export async function tryImage(engine: Engine, image: string, commands: string[]): Promise<void> {
  const script = commands.map((command) => `${command} >/dev/null || { echo "this does not run: ${command}"; exit 1; }`).join('\n');
  const container = await engine.call('create a container to try the image', (docker, abortSignal) =>
    docker.createContainer({
      ...{ Image: image, Entrypoint: ['/bin/sh'], Cmd: ['-c', script], WorkingDir: '/', Tty: true, abortSignal },
      Labels: { [TRIAL_LABEL]: image },
      HostConfig: { NetworkMode: 'none', LogConfig: { Type: 'json-file', Config: {} } },
    }),
  );
  const named = (signal: AbortSignal) => ({ abortSignal: signal });
  const within = { deadlineMs: TRIAL_DEADLINE_MS };
  try {
    const ended = engine.call('wait for the trial', (_, signal) => container.wait({ condition: 'next-exit', ...named(signal) }), within);
    const [{ StatusCode }] = (await Promise.all([
      ended,
      engine.call('start the trial', (_, signal) => container.start(named(signal)), within),
    ])) as [{ StatusCode: number }, unknown];
    if (StatusCode === 0) return;
    const said = await engine.call('read the trial', (_, signal) =>
      container.logs({ stdout: true, stderr: true, follow: false, ...named(signal) } as Docker.ContainerLogsOptions & { follow: false }),
    );
    throw new AppError(
      'configuration',
      `the image ${image} is not fit for sandboxes: ${said.toString('utf8').trim() || `status ${StatusCode}`}`,
    );
  } finally {
    await removeTrial(engine, container.id);
  }
}

/** Removes what trials that were killed left. */
export async function sweepTrials(engine: Engine): Promise<void> {
  const left = await engine.call('list trials', (docker, abortSignal) =>
    docker.listContainers({ all: true, filters: { label: [TRIAL_LABEL] }, abortSignal }),
  );
  const nowS = Date.now() / 1000;
  for (const { Id, Created } of left) if (nowS - Created > ABANDONED_AFTER_S) await removeTrial(engine, Id);
}

async function removeTrial(engine: Engine, id: string): Promise<void> {
  await engine
    .call('remove the trial', (docker, abortSignal) => docker.getContainer(id).remove({ force: true, v: true, abortSignal }))
    .catch(() => {
      // Found by the next sweep.
    });
}
