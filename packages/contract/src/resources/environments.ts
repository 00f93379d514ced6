/** Environments: requests and the resource (CONTRACT 1.2, 2.3; BEHAVIOUR 4). */
import { z } from 'zod';
import { type Metadata, Metadata as MetadataSchema } from '../common.ts';

const HOST = /^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i;
const hostPattern = z.string().min(1).max(255).regex(HOST, 'must be a bare host name or *.domain, without scheme, port or path');

export const NetworkingIn = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('unrestricted') }),
  z.strictObject({
    type: z.literal('limited'),
    allowed_hosts: z.array(hostPattern).max(256).nullish(),
    allow_mcp_servers: z.boolean().nullish(),
    allow_package_managers: z.boolean().nullish(),
  }),
]);
export type NetworkingIn = z.infer<typeof NetworkingIn>;

export const PACKAGE_MANAGERS = ['apt', 'cargo', 'gem', 'go', 'npm', 'pip'] as const;
const noPackages = z.array(z.string()).max(0, 'packages are not supported yet; leave the list empty').nullish();
export const PackagesIn = z.strictObject({
  type: z.literal('packages').optional(),
  apt: noPackages,
  cargo: noPackages,
  gem: noPackages,
  go: noPackages,
  npm: noPackages,
  pip: noPackages,
});

export const EnvironmentConfigIn = z.discriminatedUnion(
  'type',
  [z.strictObject({ type: z.literal('cloud'), networking: NetworkingIn.nullish(), packages: PackagesIn.nullish() })],
  {
    error: (issue) =>
      (issue.input as { type?: unknown } | null)?.type === 'self_hosted'
        ? 'self_hosted environments are not supported yet; use {"type":"cloud"}'
        : 'must be {"type":"cloud","networking":…,"packages":…}',
  },
);
export type EnvironmentConfigIn = z.infer<typeof EnvironmentConfigIn>;

const scope = z.enum(['organization'], { error: 'only "organization" is supported' }).nullish();

export const EnvironmentCreate = z.strictObject({
  name: z.string().min(1).max(256),
  description: z.string().max(2048).nullish(),
  config: EnvironmentConfigIn.nullish(),
  metadata: MetadataSchema.optional(),
  scope,
});
export type EnvironmentCreate = z.infer<typeof EnvironmentCreate>;

export const EnvironmentUpdate = z.strictObject({
  name: z.string().min(1).max(256).nullish(),
  description: z.string().max(2048).nullish(),
  config: EnvironmentConfigIn.nullish(),
  /** null or "" deletes a key (CONTRACT EN-3). */
  metadata: z.record(z.string().min(1).max(64), z.string().max(512).nullable()).nullish(),
  scope,
});
export type EnvironmentUpdate = z.infer<typeof EnvironmentUpdate>;

export type Networking =
  | { type: 'unrestricted' }
  | { type: 'limited'; allowed_hosts: string[]; allow_mcp_servers: boolean; allow_package_managers: boolean };

/** Networking as it crosses to the sandbox pool and egress; parsed there again. */
export const Networking = z.discriminatedUnion('type', [
  z.object({ type: z.literal('unrestricted') }),
  z.object({
    type: z.literal('limited'),
    allowed_hosts: z.array(z.string()),
    allow_mcp_servers: z.boolean(),
    allow_package_managers: z.boolean(),
  }),
]);

export interface CloudConfig {
  type: 'cloud';
  networking: Networking;
  packages: { type: 'packages' } & Record<(typeof PACKAGE_MANAGERS)[number], string[]>;
}
export interface Environment {
  type: 'environment';
  id: string;
  name: string;
  description: string | null;
  config: CloudConfig;
  metadata: Metadata;
  scope: 'organization';
  created_at: string;
  updated_at: string;
  archived_at: string | null;
}
