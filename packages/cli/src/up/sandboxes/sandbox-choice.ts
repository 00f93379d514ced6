/**
 * Chooses the sandbox driver: docker wherever a Docker engine can be used, else bubblewrap. A private engine is started only when docker is
 * asked for by name and there is no engine.
 */
import { canHaveEngine, findEngine, privateEngineObstacle, type UnusableEngine, type UsableEngine } from '@manyhands/infra';
import { PlainError, UsageError } from '../../usage-error.ts';
import type { Environment } from '../processes/child-environment.ts';
import { readSetting } from '../read-setting.ts';

export const SANDBOX_OPTIONS = ['auto', 'docker', 'bubblewrap'] as const;
export type SandboxOption = (typeof SANDBOX_OPTIONS)[number];

export type SandboxChoice =
  | { driver: 'docker'; engine: UsableEngine /** Bubblewrap would do. */; optional: boolean }
  | { driver: 'docker'; engine: null; why: string; optional: false }
  | { driver: 'bubblewrap'; why: string | null };

/** Settings that apply to the docker driver only. */
const DOCKER_SETTINGS = ['MANYHANDS_SANDBOX_IMAGE', 'MANYHANDS_SANDBOX_RUNTIME'] as const;

/** `obstacle` to an engine of our own is looked up if not given. Throws with what to do when docker is wanted and cannot be had. */
export async function chooseSandbox(
  option: SandboxOption,
  environment: Environment,
  obstacle: () => string | null = ownEngineObstacle,
): Promise<SandboxChoice> {
  const setting = DOCKER_SETTINGS.find((name) => readSetting(environment, name) !== undefined);
  if (option === 'bubblewrap') {
    if (setting !== undefined) throw new UsageError(`${setting} is for --sandbox docker. Leave it out, or use --sandbox docker.`);
    return { driver: 'bubblewrap', why: null };
  }
  const optional = option === 'auto' && setting === undefined;
  const engine = await findEngine({ environment });
  if (engine.state === 'ok') {
    const runtime = readSetting(environment, 'MANYHANDS_SANDBOX_RUNTIME');
    if (runtime !== undefined && !engine.runtimes.includes(runtime))
      throw new UsageError(
        `MANYHANDS_SANDBOX_RUNTIME: the engine at ${engine.host} has ${engine.runtimes.join(', ')}, not ${JSON.stringify(runtime)}. ` +
          'Add it to the "runtimes" of its daemon.json, or choose one of these.',
      );
    return { driver: 'docker', engine, optional };
  }
  if (optional && process.platform === 'linux') return { driver: 'bubblewrap', why: engine.problem };
  if (engine.state !== 'none' || engine.chosen || optional) throw new PlainError(refusal(engine));
  const why = obstacle();
  if (why !== null)
    throw new PlainError(`${refusal(engine)}\nNor can one be made here: ${why}. Start as root, or use --sandbox bubblewrap.`);
  return { driver: 'docker', engine: null, why: engine.problem, optional: false };
}

function ownEngineObstacle(): string | null {
  return (
    privateEngineObstacle() ??
    (canHaveEngine() ? null : 'its programs are not on this machine, and without Debian packages none can be fetched')
  );
}

function refusal({ problem, remedy }: UnusableEngine): string {
  return `--sandbox docker: ${problem}.\n${remedy}`;
}

/** One line for people; null when they chose the driver themselves. */
export function describeChoice(choice: SandboxChoice): string | null {
  if (choice.driver === 'bubblewrap') return choice.why === null ? null : `sandboxes: bubblewrap, since ${choice.why}`;
  if (choice.engine === null) return `sandboxes: containers of a Docker engine of our own, since ${choice.why}`;
  return `sandboxes: containers of Docker ${choice.engine.version} at ${choice.engine.host}`;
}
