// Makes a sandbox and starts a call in it, says so, and waits to be killed. Arguments: one JSON object.
import { createLogger } from '@manyhands/base';
import { createBubblewrapDriver, createDockerDriver, sandboxDirectory } from '@manyhands/sandbox-pool';

const { driver: name, id, limits, key, command, ...options } = JSON.parse(process.argv[2]);
const create = { bubblewrap: createBubblewrapDriver, docker: createDockerDriver }[name];
const driver = create({ ...options, log: createLogger('test', 'silent') });
const { channel } = await driver.create(sandboxDirectory(options.poolRoot, id), limits);
await channel.request({ op: 'start', key, tool: 'bash', input: { command } }, 10_000);
process.stdout.write('made\n');
setInterval(() => {}, 1_000);
