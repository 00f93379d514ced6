/** Where a request wants to go: host and port in one canonical form, so that no spelling of an address slips past a check. */
import { isIP } from 'node:net';

export interface Target {
  /** Lower-case name without a trailing dot, dotted IPv4, or IPv6 without brackets. */
  host: string;
  port: number;
  isAddress: boolean;
}

const HOST_MAX_CHARS = 253;

/** Reads `host:port`, as CONNECT names it; null for anything else. */
export function authorityTarget(authority: string): Target | null {
  const match = /^([^\s/?#@\\]+):(\d{1,5})$/.exec(authority);
  if (!match) return null;
  // The URL parser turns decimal, octal, hexadecimal and short IPv4 forms into dotted ones, and names into their ASCII form.
  return urlTarget(`http://${match[1]}:${match[2]}`, Number(match[2]));
}

/** The target of an absolute http or https URL; null if it has none. Credentials in the URL are not part of it. */
export function urlTarget(text: string | URL, port?: number): Target | null {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return null;
  const host = url.hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '');
  if (host === '' || host.length > HOST_MAX_CHARS) return null;
  const named = port ?? Number(url.port || (url.protocol === 'https:' ? 443 : 80));
  return named >= 1 && named <= 65_535 ? { host, port: named, isAddress: isIP(host) !== 0 } : null;
}

/** The target as text for a message or header. */
export function targetText({ host, port }: Target): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
