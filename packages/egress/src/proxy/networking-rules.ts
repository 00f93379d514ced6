/**
 * What an environment's `networking` allows (BEHAVIOUR 4). Names only: the addresses behind a name are checked when it is resolved.
 *
 * `allow_mcp_servers` adds nothing here: MCP servers are reached by the platform, never from a sandbox without being listed.
 */
import type { Networking } from '@manyhands/contract';
import type { Target } from './target.ts';

/** Hosts that `allow_package_managers` opens: the public registries of apt, cargo, gem, go, npm and pip. */
export const PACKAGE_REGISTRY_HOSTS: readonly string[] = [
  'archive.ubuntu.com',
  'security.ubuntu.com',
  'ports.ubuntu.com',
  '*.debian.org',
  'crates.io',
  'index.crates.io',
  'static.crates.io',
  'rubygems.org',
  'index.rubygems.org',
  'proxy.golang.org',
  'sum.golang.org',
  '*.npmjs.org',
  'registry.yarnpkg.com',
  'pypi.org',
  'files.pythonhosted.org',
];

/** A refusal: why, and what the owner of the environment could set. */
export interface Refused {
  reason: string;
  remedy: string;
}

export const NO_SETTING = 'No environment setting allows this.';

/** Null if the environment lets the target pass. */
export function refusedByNetworking(networking: Networking, target: Target): Refused | null {
  if (networking.type === 'unrestricted') return null;
  const allowed = networking.allow_package_managers ? [...networking.allowed_hosts, ...PACKAGE_REGISTRY_HOSTS] : networking.allowed_hosts;
  if (allowed.some((pattern) => matches(pattern.toLowerCase(), target))) return null;
  return {
    reason: target.isAddress
      ? 'bare addresses are not in the allowed hosts of this environment'
      : 'the host is not in the allowed hosts of this environment',
    remedy: `Add ${JSON.stringify(target.host)} to config.networking.allowed_hosts of the session's environment, or set config.networking to {"type":"unrestricted"}.`,
  };
}

/** `*.domain` is every subdomain, not the domain itself. */
function matches(pattern: string, { host, isAddress }: Target): boolean {
  if (!pattern.startsWith('*.')) return host === pattern;
  return !isAddress && host.endsWith(pattern.slice(1)) && host.length > pattern.length - 1;
}
