/** A process as the supervisor sees it, whatever it is: our own services, and the servers of `infra`. */

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface LaunchedProcess {
  readonly pid: number;
  /** Resolves with what it told when it became ready; pending for ever if it ends before. */
  readonly ready: Promise<Record<string, unknown>>;
  readonly exited: Promise<Exit>;
  /** An orderly end is asked for; safe to repeat. */
  stop(): void;
  /** At once. */
  kill(): void;
  /** Plain words it ended with, such as "The environment is not usable: …"; empty if it said none. */
  complaint(): string;
  /** The end of its log, for people. */
  lastWords(): string;
}

export interface Recipe {
  /** Such as `gateway-1`. */
  readonly name: string;
  /** It must end by itself, because it takes along what nobody else knows of: the pool its sandboxes. Killed only when its time is over. */
  readonly endsOthers?: boolean;
  /** Such a one needs it for that: even when everything ends at once, it ends in its turn. */
  readonly neededAtEnd?: boolean;
  /** Called again for every restart. A rejection says why it did not come up. */
  launch(): Promise<LaunchedProcess>;
}

export function describeExit({ code, signal }: Exit): string {
  return signal === null ? `exit code ${code}` : `signal ${signal}`;
}
