/** The sandbox daemon, the process inside a sandbox; or a relay to it (server/relay.ts), or a searching thread of it (tools/grep-tool.ts). */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { createArchiver } from './files/archive.ts';
import { createCalls } from './server/calls.ts';
import { startForwarder } from './server/forwarder.ts';
import { RELAY_ARGUMENT, runRelay } from './server/relay.ts';
import { startServer } from './server/server.ts';
import { readSettings } from './settings.ts';
import { isGrepJob, runGrepJob } from './tools/grep-worker.ts';
import { createToolRunner } from './tools/tool-runner.ts';

async function main(): Promise<void> {
  const settings = readSettings(process.env);
  const { paths } = settings;
  if (process.argv.includes(RELAY_ARGUMENT)) return runRelay(paths.handSocket);
  const tools = createToolRunner(settings);
  const end = (status: number, why: string): never => {
    process.stderr.write(`sandbox-daemon: ${why}\n`);
    tools.close();
    process.exit(status);
  };
  // Whoever read the messages may be gone; the daemon goes on until it is an orphan.
  process.stderr.on('error', () => undefined);
  process.on('SIGTERM', () => end(0, 'asked to end'));
  process.on('SIGINT', () => end(0, 'asked to end'));
  process.on('uncaughtException', (error) => end(1, `uncaught: ${error.stack ?? error.message}`));
  process.on('unhandledRejection', (reason) => end(1, `unhandled: ${String(reason)}`));

  // The forwarder first: whoever can reach the daemon may at once run something that needs the network.
  if (!(await startForwarder(settings.proxyPort, paths.egressSocket)))
    process.stderr.write(`sandbox-daemon: port ${settings.proxyPort} is taken; tools have no network way out\n`);
  await startServer({
    socketPath: paths.handSocket,
    orphanMs: settings.orphanMs,
    calls: createCalls(tools.run),
    archiver: createArchiver(settings.root, paths, settings.shellEnv),
    onOrphaned: () => end(0, 'no pool for too long'),
  });
}

if (isMainThread) {
  main().catch((error: unknown) => {
    process.stderr.write(`sandbox-daemon: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  });
} else if (parentPort && isGrepJob(workerData)) {
  runGrepJob(workerData, parentPort);
}
