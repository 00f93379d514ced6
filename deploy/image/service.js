/** What a container of the image runs: one service, named by its argument, in this very process, so that signals reach it. */
const SERVICES = {
  gateway: '@manyhands/gateway/main',
  harness: '@manyhands/harness/main',
  'sandbox-pool': '@manyhands/sandbox-pool/main',
  egress: '@manyhands/egress/main',
  'fake-model': '@manyhands/model/fake/main',
  // What it was called in 0.1.0.
  'model-double': '@manyhands/model/fake/main',
};

const [name = '', ...rest] = process.argv.slice(2);
const main = Object.hasOwn(SERVICES, name) ? SERVICES[/** @type {keyof typeof SERVICES} */ (name)] : null;
if (main === null || rest.length > 0) {
  process.stderr.write(`Give one argument, the service to run: ${Object.keys(SERVICES).join(', ')}.\n`);
  process.exit(64);
}
// The first process of a container ignores signals that it does not handle; the service itself does so once it is loaded.
const endEarly = () => process.exit(143);
process.on('SIGTERM', endEarly);
await import(main);
process.off('SIGTERM', endEarly);
