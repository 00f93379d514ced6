/** Environment, directory and streams of a command, passed as a parameter: nothing below `main` reads them from `process`. */
import type { ReadStream } from 'node:tty';
import type { Environment } from './up/processes/child-environment.ts';

export interface Surroundings {
  /** The user's environment, complete. */
  environment: Environment;
  cwd: string;
  stdin: NodeJS.ReadStream | ReadStream;
  stdout: NodeJS.WriteStream;
  stderr: NodeJS.WriteStream;
}
