#!/usr/bin/env node
import { runProgram } from './program.ts';
/** The `manyhands` command. */
import { narrowEnvironment } from './up/processes/child-environment.ts';

// Programs that are started from here inherit what is left: no key, no address.
const environment = narrowEnvironment(process.env);
for (const stream of [process.stdout, process.stderr]) {
  // The reader has gone; what is to be done is done all the same.
  stream.on('error', () => {});
}
process.exitCode = await runProgram(process.argv, {
  environment,
  cwd: process.cwd(),
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
});
process.exit();
