/** Pieces that several resources share: metadata bags, lists, refusals of what is not built yet. */
import { z } from 'zod';

export const METADATA_MAX_KEYS = 16;
const metadataKey = z.string().min(1).max(64);
const metadataValue = z.string().max(512);

/** Metadata on create: at most 16 pairs, key 1–64, value up to 512 characters. */
export const Metadata = z.record(metadataKey, metadataValue).refine((bag) => Object.keys(bag).length <= METADATA_MAX_KEYS, {
  message: `at most ${METADATA_MAX_KEYS} keys`,
});
export type Metadata = z.infer<typeof Metadata>;

/** Metadata on update: string upserts, null deletes, omitted stays. The merged bag is checked against `Metadata`. */
export const MetadataPatch = z.record(metadataKey, metadataValue.nullable());
export type MetadataPatch = z.infer<typeof MetadataPatch>;

/** Applies a patch; returns the merged bag. */
export function mergeMetadata(stored: Metadata, patch: Record<string, string | null> | null | undefined): Metadata {
  const merged: Record<string, string> = { ...stored };
  for (const [key, value] of Object.entries(patch ?? {})) {
    if (value === null) delete merged[key];
    else merged[key] = value;
  }
  return merged;
}

/**
 * A field of the contract that is refused for now: absent and null are what it means by default and pass; anything else is a 400 that says
 * "not supported yet" (I13).
 */
export function notSupportedYet(what: string) {
  return z.custom<null>((value) => value === null, `${what} is not supported yet; leave the field out`).optional();
}

/** The same for a list, which may also be empty. */
export function notSupportedYetList(what: string) {
  return z
    .custom<null | never[]>(
      (value) => value === null || (Array.isArray(value) && value.length === 0),
      `${what} is not supported yet; leave the field out`,
    )
    .optional();
}

export interface Page<T> {
  data: T[];
  next_page: string | null;
}
export interface BidirectionalPage<T> extends Page<T> {
  prev_page?: string | null;
}

/** RFC 3339 UTC from milliseconds. */
export function timestamp(ms: number): string {
  return new Date(ms).toISOString();
}
