/**
 * The tools of the type tests. Everything here is checked by the compiler only (`tsc -p test/tsconfig.json`).
 *
 * A gap is a field at which one type does not fit the other. Gaps that are known are owned: an object with one entry per gap, checked by
 * `satisfies Record<Gaps, …>`. A new gap is a missing entry, a gap that was closed is an excess one; both fail, so that no list goes stale.
 */

/** Fails to compile unless T is true. */
export type Expect<T extends true> = T;

export type Assignable<From, To> = [From] extends [To] ? true : false;

/** A request as JSON carries it: what is undefined is not sent. */
export type Sent<T> = T extends readonly (infer Item)[]
  ? Sent<Item>[]
  : T extends object
    ? { [K in keyof T]: Sent<Exclude<T[K], undefined>> }
    : T;

/** The fields of From that To does not have, or whose values To does not take. */
export type FieldGaps<From, To> = {
  [K in keyof From]-?: K extends keyof To ? (Assignable<From[K], To[K]> extends true ? never : K) : K;
}[keyof From];

/** What the SDK's methods take beside the body: headers and, for some, path parameters. */
export type Body<Params, Beside extends PropertyKey = never> = Omit<Params, 'betas' | 'workspace_id' | Beside>;

/** Of a union of objects told apart by `type`: the members of From that do not fit the member of To with the same type. */
export type KindGaps<From extends { type: string }, To extends { type: string }> = {
  [K in From['type']]: Assignable<Extract<From, { type: K }>, Extract<To, { type: K }>> extends true ? never : K;
}[From['type']];

/** Why a gap is there, and the feature that closes it. */
export interface Owned {
  why: string;
  closedBy: string;
}
/** A gap in what requests may say. `sample` is a value that the SDK's type allows and that is refused for now. */
export interface Refused extends Owned {
  sample: unknown;
}
