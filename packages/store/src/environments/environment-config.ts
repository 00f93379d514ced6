/** The configuration of a cloud environment: defaults on create, merging on update (CONTRACT EN-3). Pure functions. */
import type { CloudConfig, EnvironmentCreate, EnvironmentUpdate, Metadata, Networking, NetworkingIn } from '@manyhands/contract';
import { checkMetadata } from '../agents/agent-definition.ts';

type ConfigIn = EnvironmentCreate['config'];

/** Flags of limited networking that are left out or null keep what is stored, if that was limited too; otherwise they are off. */
function mergeNetworking(stored: Networking, wanted: NetworkingIn | null | undefined): Networking {
  if (!wanted) return stored;
  if (wanted.type === 'unrestricted') return { type: 'unrestricted' };
  const before = stored.type === 'limited' ? stored : { allowed_hosts: [], allow_mcp_servers: false, allow_package_managers: false };
  return {
    type: 'limited',
    allowed_hosts: wanted.allowed_hosts ?? before.allowed_hosts,
    allow_mcp_servers: wanted.allow_mcp_servers ?? before.allow_mcp_servers,
    allow_package_managers: wanted.allow_package_managers ?? before.allow_package_managers,
  };
}

/** Packages are refused by the contract for now, so every list is empty. */
const noPackages = (): CloudConfig['packages'] => ({ type: 'packages', apt: [], cargo: [], gem: [], go: [], npm: [], pip: [] });

export function createCloudConfig(input: ConfigIn): CloudConfig {
  return { type: 'cloud', networking: mergeNetworking({ type: 'unrestricted' }, input?.networking), packages: noPackages() };
}

export function mergeCloudConfig(stored: CloudConfig, change: EnvironmentUpdate['config']): CloudConfig {
  return { ...stored, networking: mergeNetworking(stored.networking, change?.networking) };
}

/** Here null and the empty text both delete a key, unlike everywhere else. */
export function mergeEnvironmentMetadata(stored: Metadata, patch: EnvironmentUpdate['metadata']): Metadata {
  const merged: Record<string, string> = { ...stored };
  for (const [key, value] of Object.entries(patch ?? {})) {
    if (value === null || value === '') delete merged[key];
    else merged[key] = value;
  }
  checkMetadata(merged);
  return merged;
}
