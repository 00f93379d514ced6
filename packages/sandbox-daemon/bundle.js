// Bundles the sandbox daemon into one file without imports but Node's own. It is mounted into sandboxes, which have no node_modules. Its name
// dist/hand.mjs is a format: sandboxes that an older version made have it, and MANYHANDS_HAND may name it.
import { rolldown } from 'rolldown';

const bundle = await rolldown({
  input: new URL('dist/main.js', import.meta.url).pathname,
  platform: 'node',
  // Modules of the contract that the daemon does not use are left out; none of ours has side effects on import.
  treeshake: { moduleSideEffects: false },
});
await bundle.write({ file: new URL('dist/hand.mjs', import.meta.url).pathname, format: 'esm', minify: true, sourcemap: false });
await bundle.close();
