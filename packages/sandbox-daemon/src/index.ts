/** Parts of the sandbox daemon. The program itself is `dist/hand.mjs`, which `bundle.js` makes from `main`. */
export { createFrameDecoder, encodeFrame } from './server/frames.ts';
