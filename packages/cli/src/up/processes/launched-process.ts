/** The interface between the supervisor and a process of any kind: our own services and the servers of `infra`. */

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface LaunchedProcess {
  readonly pid: number;
  /** Resolves with the facts of its ready line; stays pending if it ends before it is ready. */
  readonly ready: Promise<Record<string, unknown>>;
  readonly exited: Promise<Exit>;
  /** Asks for an orderly end; safe to repeat. */
  stop(): void;
  /** Kills it at once. */
  kill(): void;
  /** The plain text it printed before it ended, such as "The environment is not usable: …"; empty if there is none. */
  startupError(): string;
  /** The end of its output, in a form for people. */
  stderrTail(): string;
}

export interface Recipe {
  /** Such as `gateway-1`. */
  readonly name: string;
  /** It ends processes of its own that the supervisor does not know, as the pool does with its sandboxes: killed only after the deadline. */
  readonly endsOthers?: boolean;
  /** A process with `endsOthers` needs it for that: it is stopped in its stage even when everything else is killed at once. */
  readonly neededAtEnd?: boolean;
  /** Called for every start and restart. A rejection holds the reason why it did not start. */
  launch(): Promise<LaunchedProcess>;
}

export function describeExit({ code, signal }: Exit): string {
  return signal === null ? `exit code ${code}` : `signal ${signal}`;
}
