/** Domain rules as operators in the words of a query, for services that have no parameters for them. They help a search; they do not bind it. */
import type { DomainRules } from '../web/domain-rules.ts';

const SITES_MAX = 8;

/** The query with `site:` and `-site:`, as far as it then fits. Of entries with a path only the host can be said, and a blocked one not at all. */
export function withSiteOperators(text: string, rules: DomainRules, fits: (query: string) => boolean): string {
  const allowed = [...new Set(rules.allowed_domains?.map((entry) => `site:${hostOf(entry)}`))];
  if (allowed.length > 0) {
    const wanted = allowed.length === 1 ? `${text} ${allowed[0]}` : `${text} (${allowed.join(' OR ')})`;
    return allowed.length <= SITES_MAX && fits(wanted) ? wanted : text;
  }
  const blocked = (rules.blocked_domains ?? []).filter((entry) => !entry.includes('/')).slice(0, SITES_MAX);
  return blocked.reduce((query, host) => (fits(`${query} -site:${host}`) ? `${query} -site:${host}` : query), text);
}

export function hostOf(entry: string): string {
  return entry.split('/', 1)[0]!;
}
