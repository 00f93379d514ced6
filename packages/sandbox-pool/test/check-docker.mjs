// Checks a Docker engine and prints what is wrong with it. Arguments: one JSON object, the options of the driver.
import { createLogger } from '@manyhands/base';
import { createDockerDriver } from '@manyhands/sandbox-pool';

const driver = createDockerDriver({ ...JSON.parse(process.argv[2]), log: createLogger('test', 'silent') });
await driver.check().then(
  () => process.stdout.write('works\n'),
  (error) => process.stdout.write(`${error.code}: ${error.message}\n`),
);
await driver.close();
process.exit();
