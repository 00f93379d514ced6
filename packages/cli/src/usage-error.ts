/** What the user asked for cannot be done as asked: the message names the option or variable and the remedy. Exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Something outside stands in the way: the message says what, and what to do. Exit code 1, no stack. */
export class PlainError extends Error {
  override readonly name = 'PlainError';
}
