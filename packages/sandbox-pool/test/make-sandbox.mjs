// Makes a sandbox and starts a call in it, says so, and waits to be killed. Arguments: one JSON object.
import { createLogger } from '@manyhands/base';
import { createBubblewrapDriver, sandboxDirectory } from '@manyhands/sandbox-pool';

const { id, limits, key, command, ...options } = JSON.parse(process.argv[2]);
const driver = createBubblewrapDriver({ ...options, log: createLogger('test', 'silent') });
const { channel } = await driver.create(sandboxDirectory(options.poolRoot, id), limits);
await channel.request({ op: 'start', key, tool: 'bash', input: { command } }, 10_000);
process.stdout.write('made\n');
setInterval(() => {}, 1_000);
