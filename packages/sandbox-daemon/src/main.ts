/** The process inside a sandbox, a relay to it (see relay.ts), or (see grep-tool.ts) a searching thread of it. */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { createArchiver } from './archive.ts';
import { createCalls } from './calls.ts';
import { startForwarder } from './forwarder.ts';
import { isGrepJob, runGrepJob } from './grep-worker.ts';
import { RELAY_ARGUMENT, runRelay } from './relay.ts';
import { startHandServer } from './server.ts';
import { readSettings } from './settings.ts';
import { createToolRunner } from './tool-runner.ts';

async function main(): Promise<void> {
  const settings = readSettings(process.env);
  const { paths } = settings;
  if (process.argv.includes(RELAY_ARGUMENT)) return runRelay(paths.handSocket);
  const tools = createToolRunner(settings);
  const end = (status: number, why: string): never => {
    process.stderr.write(`hand: ${why}\n`);
    tools.close();
    process.exit(status);
  };
  // Whoever read the messages may be gone; the hand goes on until it is an orphan.
  process.stderr.on('error', () => undefined);
  process.on('SIGTERM', () => end(0, 'asked to end'));
  process.on('SIGINT', () => end(0, 'asked to end'));
  process.on('uncaughtException', (error) => end(1, `uncaught: ${error.stack ?? error.message}`));
  process.on('unhandledRejection', (reason) => end(1, `unhandled: ${String(reason)}`));

  // The way out first: whoever can reach the hand may at once run something that needs it.
  if (!(await startForwarder(settings.proxyPort, paths.egressSocket)))
    process.stderr.write(`hand: port ${settings.proxyPort} is taken; tools have no network way out\n`);
  await startHandServer({
    socketPath: paths.handSocket,
    orphanMs: settings.orphanMs,
    calls: createCalls(tools.run),
    archiver: createArchiver(settings.root, paths, settings.shellEnv),
    onOrphaned: () => end(0, 'no pool for too long'),
  });
}

if (isMainThread) {
  main().catch((error: unknown) => {
    process.stderr.write(`hand: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  });
} else if (parentPort && isGrepJob(workerData)) {
  runGrepJob(workerData, parentPort);
}
