/** A promise, and where it comes from. */
export interface Requirement {
  source: string;
  promise: string;
}
