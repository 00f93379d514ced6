/** The parts of a hand. The program itself is `dist/hand.mjs`, which `bundle.js` makes from `main`. */
export { createFrameDecoder, encodeFrame } from './frames.ts';
