/** Where we answer other than the declarations of an SDK say, on purpose. The conformance run fails if an entry is not met any more. */
import type { Problem } from './check.ts';
import type { Sdk } from './load.ts';

export interface OwnedExtra {
  sdk: Sdk;
  /** The method of the SDK whose answer it is; `error` for the body of a refusal. */
  call: RegExp;
  place: RegExp;
  what: Problem['what'];
  /** Of the value that is told. */
  text?: RegExp;
  why: string;
}

const twoNamespaces = 'one answer serves client.x and client.beta.x, and only the latter declares the field';

export const OWNED_EXTRAS: Readonly<Record<string, OwnedExtra>> = {
  'codes of errors': {
    sdk: 'current',
    call: /^error$/,
    place: /^error\.details$/,
    what: 'unknown field',
    why: 'documented, and read by the SDK as errorCode; only the type of the envelope leaves it out',
  },
  'bodies too large': {
    sdk: 'current',
    call: /^error$/,
    place: /^error$/,
    what: 'unknown member',
    text: /"type":"request_too_large"/,
    why: 'documented for status 413; the SDK knows the status, not the type',
  },
  'fallbacks of models': {
    sdk: 'current',
    call: /^models\./,
    place: /^(data\[\]\.)?allowed_fallback_models$/,
    what: 'unknown field',
    why: twoNamespaces,
  },
  'scopes of files': {
    sdk: 'current',
    call: /^files\./,
    place: /^(data\[\]\.)?scope$/,
    what: 'unknown field',
    why: twoNamespaces,
  },
  'environments without a description': {
    sdk: 'legacy',
    call: /^beta\.environments\./,
    place: /^(data\[\]\.)?description$/,
    what: 'wrong',
    text: /^it is null /,
    why: 'the current SDK declares null where there is none; the old one knew the empty string',
  },
  'pages of files': {
    sdk: 'legacy',
    call: /^beta\.files\.list$/,
    place: /^(has_more|first_id|last_id)$/,
    what: 'missing',
    why: 'files are paged by cursor since, and the old SDK takes a page without these fields for the last one',
  },
};
