/** Writes docs/compatibility.md anew, from the promises and the surface: `npm run compatibility`. */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withConformance } from '../runner/conformance.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const text = await withConformance(root, 'compatibility.ts', ({ writeCompatibility }) => writeCompatibility());
writeFileSync(join(root, 'docs/compatibility.md'), text);
console.log('docs/compatibility.md is written');
