/** The built-in tools as the model sees them. The wording is ours; the inputs are the contract's (CONTRACT 4.2). */
import type Anthropic from '@anthropic-ai/sdk';
import { BUILTIN_TOOLS, type BuiltinTool } from '@manyhands/contract';

const DEFINITIONS: Record<BuiltinTool, Omit<Anthropic.Tool, 'name'>> = {
  bash: {
    description:
      'Runs a command in a bash shell that stays open between calls: working directory, variables and background jobs persist. ' +
      'Standard output and error come back together; of long output the end is shown and the whole is kept in a file. ' +
      'There is no terminal and no standard input. ' +
      'A command that runs past timeout_ms (default 120000) is ended together with the shell. Set restart to start a new shell.',
    input_schema: {
      type: 'object',
      properties: {
        command: { type: 'string', description: 'The command to run.' },
        restart: { type: 'boolean', description: 'End the shell and start a new one.' },
        timeout_ms: { type: 'integer', description: 'Milliseconds before the command is ended.' },
      },
    },
  },
  read: {
    description:
      'Reads a text file, or shows an image (PNG, JPEG, GIF, WebP) or a PDF of at most 100 pages. Text files over 256 KiB need view_range.',
    input_schema: {
      type: 'object',
      properties: {
        file_path: { type: 'string', description: 'Absolute path, or relative to /workspace.' },
        view_range: {
          type: 'array',
          items: { type: 'integer' },
          minItems: 2,
          maxItems: 2,
          description: 'First and last line, counted from 1, both included; a last line of 0 or less means the end of the file.',
        },
      },
      required: ['file_path'],
    },
  },
  write: {
    description: 'Writes a text file, replacing what was there. Missing parent directories are made.',
    input_schema: {
      type: 'object',
      properties: { file_path: { type: 'string', description: 'Absolute path, or relative to /workspace.' }, content: { type: 'string' } },
      required: ['file_path', 'content'],
    },
  },
  edit: {
    description: 'Replaces old_string with new_string in a file. old_string must stand there exactly once, unless replace_all is set.',
    input_schema: {
      type: 'object',
      properties: {
        file_path: { type: 'string' },
        old_string: { type: 'string' },
        new_string: { type: 'string' },
        replace_all: { type: 'boolean' },
      },
      required: ['file_path', 'old_string', 'new_string'],
    },
  },
  glob: {
    description: 'Lists files whose path matches a pattern such as "src/**/*.ts", newest first, at most 200.',
    input_schema: {
      type: 'object',
      properties: { pattern: { type: 'string' }, path: { type: 'string', description: 'Directory to look in; /workspace if left out.' } },
      required: ['pattern'],
    },
  },
  grep: {
    description: 'Searches file contents for a regular expression; answers lines as path:line:text.',
    input_schema: {
      type: 'object',
      properties: {
        pattern: { type: 'string' },
        path: { type: 'string', description: 'File or directory to search; /workspace if left out.' },
      },
      required: ['pattern'],
    },
  },
  web_fetch: {
    description: 'Fetches a public http or https URL and answers its text.',
    input_schema: { type: 'object', properties: { url: { type: 'string' } }, required: ['url'] },
  },
  web_search: {
    description: 'Searches the web.',
    input_schema: { type: 'object', properties: { query: { type: 'string' } }, required: ['query'] },
  },
};

/** Definitions of the enabled tools, always in the same order (a stable prefix for the prompt cache). */
export function toolDefinitions(enabled: ReadonlySet<BuiltinTool>): Anthropic.Tool[] {
  return BUILTIN_TOOLS.filter((name) => enabled.has(name)).map((name) => ({ name, ...DEFINITIONS[name] }));
}
