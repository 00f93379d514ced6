/** The command line as a function, and the program that it shows to new users. */
export { runProgram } from './program.ts';
export { type SnippetValues, snippet } from './snippet.ts';
export type { Surroundings } from './surroundings.ts';
