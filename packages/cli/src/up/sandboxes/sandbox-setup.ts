/** Everything that must be there before the sandbox pool starts: an engine and the base image, or bubblewrap and ripgrep. */
import { endEngineLeftovers, prepareSandboxImage } from '@manyhands/infra';
import { PlainError } from '../../usage-error.ts';
import type { DataDirectory } from '../data/data-directory.ts';
import { type Environment, engineEnvironment } from '../processes/child-environment.ts';
import { IMAGE_ENTRY, STAGE } from '../processes/services.ts';
import type { Supervisor } from '../processes/supervisor.ts';
import { readSetting } from '../read-setting.ts';
import { privateEngine } from './engine.ts';
import { chooseSandbox, describeChoice, type SandboxChoice, type SandboxOption } from './sandbox-choice.ts';
import { findSandboxTools } from './sandbox-tools.ts';

export interface SandboxSetupDeps {
  option: SandboxOption;
  /** The user's environment. */
  environment: Environment;
  data: DataDirectory;
  supervisor: Supervisor;
  log: (line: string) => void;
  /** The program that makes the base image. */
  imageEntry?: string;
}

export interface SandboxSetup {
  /** Answers the pool's environment variables. Throws with the remedy when there can be no sandboxes. */
  prepare(): Promise<Record<string, string>>;
  /** Aborts the work of `prepare` that the supervisor does not know of. */
  end(): Promise<void>;
}

export function createSandboxSetup(deps: SandboxSetupDeps): SandboxSetup {
  const { option, environment, data, supervisor, log, imageEntry = IMAGE_ENTRY } = deps;
  const ending = new AbortController();
  let image: Promise<string> | null = null;

  async function prepare(): Promise<Record<string, string>> {
    const choice = await chooseSandbox(option, environment);
    const line = describeChoice(choice);
    if (line !== null) log(line);
    // A private engine that starts on this data removes its leftovers itself.
    if (choice.driver !== 'docker' || choice.engine !== null) await endEngineLeftovers(data.engine);
    return choice.driver === 'bubblewrap' ? await bubblewrap() : await docker(choice);
  }

  async function bubblewrap(): Promise<Record<string, string>> {
    return { MANYHANDS_SANDBOX_DRIVER: 'bubblewrap', ...(await findSandboxTools(log)) };
  }

  async function docker(choice: SandboxChoice & { driver: 'docker' }): Promise<Record<string, string>> {
    const host = choice.engine?.host ?? (await startEngine());
    const own = readSetting(environment, 'MANYHANDS_SANDBOX_IMAGE');
    const ours = { entry: imageEntry, host, env: engineEnvironment(environment), signal: ending.signal };
    image = prepareSandboxImage({ ...ours, log: (line) => log(`sandbox image: ${line}`), ...(own === undefined ? {} : { image: own }) });
    try {
      return { MANYHANDS_SANDBOX_DRIVER: 'docker', DOCKER_HOST: host, MANYHANDS_SANDBOX_IMAGE: await image };
    } catch (error) {
      if (ending.signal.aborted || !choice.optional || process.platform !== 'linux')
        throw new PlainError((error as Error).message, { cause: error });
      log(`sandboxes: bubblewrap after all. ${(error as Error).message}`);
      return await bubblewrap();
    }
  }

  async function startEngine(): Promise<string> {
    const engine = privateEngine(data, readSetting(environment, 'MANYHANDS_SANDBOX_RUNTIME'), log);
    try {
      await supervisor.start(engine.containerd, STAGE.containerd);
      await supervisor.start(engine.dockerd, STAGE.docker);
    } catch (error) {
      throw new PlainError((error as Error).message, { cause: error });
    }
    return engine.host;
  }

  return {
    prepare,
    async end() {
      ending.abort();
      await image?.catch(() => {});
    },
  };
}
