/** The commands, their options and their help. Exit codes: 0 done, 1 it failed, 2 it was asked for wrongly. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import { createKey, listKeys, revokeKey } from './api-keys.ts';
import { chat } from './chat/chat.ts';
import { doctor } from './doctor.ts';
import { errorText } from './error-text.ts';
import type { Surroundings } from './surroundings.ts';
import { watchStopSignals } from './up/stop-signals.ts';
import { up } from './up/up.ts';
import { LOG_LEVELS, parseUpOptions, type RawUpOptions } from './up/up-options.ts';
import { UsageError } from './usage-error.ts';

export async function runProgram(argv: readonly string[], surroundings: Surroundings): Promise<number> {
  const { stderr } = surroundings;
  let exitCode = 0;
  const program = build(surroundings, (code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync(argv);
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    stderr.write(`${errorText(error)}\n`);
    return error instanceof UsageError ? 2 : 1;
  }
}

function build(surroundings: Surroundings, setExitCode: (code: number) => void): Command {
  const { environment, cwd, stdout, stderr } = surroundings;
  const program = new Command('manyhands')
    .description('Self-hosted managed agents: the HTTP API of Claude Managed Agents on machines you own.')
    .version(version(), '-V, --version')
    .showHelpAfterError('(--help lists what there is)')
    .configureOutput({ writeOut: (text) => stdout.write(text), writeErr: (text) => stderr.write(text) })
    .exitOverride();

  const log = (line: string) => void stderr.write(`manyhands: ${line}\n`);
  program
    .command('up')
    .description('run everything on this machine: gateway, workers, sandboxes, egress, Redis and NATS')
    .option('--port <n>', 'port of the API; 0 takes any free one', '8400')
    .option('--host <address>', 'address of the API', '127.0.0.1')
    .option('--data <dir>', 'where everything is kept', '.manyhands')
    .option('--gateways <n>', 'gateway processes', '1')
    .option('--workers <n>', 'harness processes', '2')
    .option('--sandbox <kind>', 'docker, bubblewrap, or auto: docker where an engine can be used; docker as root brings its own', 'auto')
    .option('--rate-limits <which>', 'off, or hosted: 300 requests a minute that change something, 1,200 that read', 'off')
    .option('--fsync <when>', 'when Redis syncs its log: always, or everysec, which may lose 2 s on a stalled disk', 'always')
    .option('--metrics-port <n>', 'metrics and health checks of each process, on ports of this machine from <n> on (default: none)')
    .option('--ready-file <path>', 'write URL, API key and pids as JSON once a tool call would succeed')
    .addOption(
      new Option('--log-level <level>', `of the processes' logs: ${LOG_LEVELS.join(', ')}`).default(
        environment['MANYHANDS_LOG_LEVEL'] || 'info',
        '$MANYHANDS_LOG_LEVEL or info',
      ),
    )
    .action(async (raw: RawUpOptions) => {
      const options = parseUpOptions(raw, cwd);
      const signals = watchStopSignals(() => log('ending everything at once'));
      await up(options, { environment, cwd, log, print: (text) => void stdout.write(text), ...signals });
    });

  program
    .command('doctor')
    .description('say what this machine has, what it lacks, and what to type')
    .option('--data <dir>', 'the data directory whose disk is looked at', '.manyhands')
    .action(async ({ data }: { data: string }) => setExitCode(await doctor(data, surroundings)));

  program
    .command('chat')
    .description('talk to an agent in the terminal')
    .option('--url <url>', 'of the API (default: $MANYHANDS_URL, or the instance that runs in --data)')
    .option('--api-key <key>', '(default: $MANYHANDS_API_KEY, or that of the instance)')
    .option('--data <dir>', 'data directory of the instance', '.manyhands')
    .option('--model <id>', 'model id (default: the first that the server lists)')
    .option('--system <text>', 'system prompt')
    .option('--session <id>', 'go on with this session')
    .option('--plain', 'no colours, no keys: lines in, answers out')
    .addHelpText(
      'after',
      '\nEsc or Ctrl-C stops the answer; Ctrl-C twice or Ctrl-D ends. Lines may come from a pipe: echo hi | manyhands chat',
    )
    .action(async (options) => chat(options, surroundings));

  const keys = program.command('keys').description('API keys; all of these need a key with operator scope');
  const connection = (command: Command) =>
    command
      .option('--url <url>', 'of the API (default: $MANYHANDS_URL, or the instance that runs in --data)')
      .option('--api-key <key>', 'operator key (default: $MANYHANDS_API_KEY, or that of the instance)')
      .option('--data <dir>', 'data directory of the instance', '.manyhands');
  connection(keys.command('create'))
    .description('make a key; its text is shown once')
    .argument('<name>', 'to tell keys apart')
    .option('--operator', 'also opens keys and /admin/queues')
    .action(async (name: string, options) => createKey(name, options, surroundings));
  connection(keys.command('list'))
    .description('list keys')
    .option('--all', 'revoked ones too')
    .action(async (options) => listKeys(options, surroundings));
  connection(keys.command('revoke'))
    .description('end a key for good')
    .argument('<id>', 'such as apikey_…')
    .action(async (id: string, options) => revokeKey(id, options, surroundings));
  return program;
}

function version(): string {
  return (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version;
}
