/**
 * The domain lists of an agent's web tools (BEHAVIOUR 9). A host covers its subdomains; a path behind it covers what lies below. Addresses are
 * covered by no entry: an allow list keeps them out.
 */

/** One list or the other, or none; entries as the contract checked them. */
export interface DomainRules {
  allowed_domains?: readonly string[] | undefined;
  blocked_domains?: readonly string[] | undefined;
}

export function hasRules({ allowed_domains, blocked_domains }: DomainRules): boolean {
  return allowed_domains !== undefined || blocked_domains !== undefined;
}

export function allowedByDomains({ allowed_domains, blocked_domains }: DomainRules, url: URL): boolean {
  if (allowed_domains && !allowed_domains.some((entry) => covers(entry, url))) return false;
  return !blocked_domains?.some((entry) => covers(entry, url));
}

function covers(entry: string, url: URL): boolean {
  // Some names look well and are none, such as "xn--a.example": no URL has them.
  if (!URL.canParse(`https://${entry}`)) return false;
  const wanted = new URL(`https://${entry}`);
  const host = url.hostname.replace(/\.$/, '');
  if (host !== wanted.hostname && !host.endsWith(`.${wanted.hostname}`)) return false;
  const [below, path] = [pathOf(wanted), pathOf(url)];
  if (!path.startsWith(below)) return false;
  // "/docs" is not the beginning of "/docs-old".
  return below.endsWith('/') || path.length === below.length || '/?&'.includes(path[below.length]!);
}

/** Path and query in one spelling, so that an encoded letter does not get around a rule. */
function pathOf({ pathname, search }: URL): string {
  const path = pathname + search;
  try {
    return decodeURI(path);
  } catch {
    return path;
  }
}
