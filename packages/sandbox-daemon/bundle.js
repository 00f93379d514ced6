// Bundles the hand into one file without imports but Node's own: dist/hand.mjs. It is mounted into sandboxes, which have no node_modules.
import { rolldown } from 'rolldown';

const bundle = await rolldown({
  input: new URL('dist/main.js', import.meta.url).pathname,
  platform: 'node',
  // Modules of the contract that the hand does not use are left out; none of ours has side effects on import.
  treeshake: { moduleSideEffects: false },
});
await bundle.write({ file: new URL('dist/hand.mjs', import.meta.url).pathname, format: 'esm', minify: true, sourcemap: false });
await bundle.close();
