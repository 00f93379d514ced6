/** What a command works with; nothing below `main` reaches for it by itself. */
import type { ReadStream } from 'node:tty';
import type { Environment } from './up/child-environment.ts';

export interface Surroundings {
  /** The user's environment, complete. */
  environment: Environment;
  cwd: string;
  stdin: NodeJS.ReadStream | ReadStream;
  stdout: NodeJS.WriteStream;
  stderr: NodeJS.WriteStream;
}
