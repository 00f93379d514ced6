/**
 * Which addresses and ports anything that leaves through egress may reach (I11).
 *
 * Everything is refused that is not public unicast: private, loopback, link-local (metadata services among them), carrier-grade NAT,
 * multicast, reserved, benchmarking, and every IPv6 form that carries an IPv4 address inside. So are this host's own addresses, which
 * may well be public. The policy is a parameter of everything that connects: tests admit their own servers, production has no switch.
 */
import { networkInterfaces } from 'node:os';
import { AppError } from '@manyhands/base';
import ipaddr from 'ipaddr.js';

type Address = ReturnType<typeof ipaddr.parse>;
type Range = ReturnType<typeof ipaddr.parseCIDR>;

export interface ReachPolicy {
  ports: ReadonlySet<number>;
  /** Why an address must not be reached, for the refusal; null if it may. Takes canonical text without brackets. */
  refusal(address: string): string | null;
}

/** The web's two ports. Others would make the proxy a way to mail, shell and database servers. */
export const WEB_PORTS: ReadonlySet<number> = new Set([80, 443]);

const GLOBAL_UNICAST_V6: Range = ipaddr.parseCIDR('2000::/3');
/** Public by number, yet answered by the cloud host itself: Azure's metadata and DNS address. */
const HOST_SERVICES: readonly Range[] = [ipaddr.parseCIDR('168.63.129.16/32')];

export interface ReachPolicyOptions {
  /** More ranges to refuse, as CIDR: the public addresses of an internal network, for example. */
  extraDeny?: readonly string[];
  /** This host's own addresses; asked again on each check, since they change. */
  ownAddresses?: () => string[];
}

export function createReachPolicy(options: ReachPolicyOptions = {}): ReachPolicy {
  const extra = (options.extraDeny ?? []).map(parseRange);
  const ownAddresses = options.ownAddresses ?? systemAddresses;
  return {
    ports: WEB_PORTS,
    refusal(text) {
      if (!ipaddr.isValid(text) || text.includes('%')) return 'it is not an address';
      const address = ipaddr.parse(text);
      const kind = rangeOf(address);
      if (kind !== 'unicast') return `it is a ${kind} address`;
      if (HOST_SERVICES.some((range) => within(address, range))) return 'it is a metadata address';
      if (extra.some((range) => within(address, range))) return 'it is in a range that this installation denies';
      const canonical = address.toNormalizedString();
      if (ownAddresses().some((own) => ipaddr.isValid(own) && ipaddr.parse(own).toNormalizedString() === canonical))
        return 'it is an address of the sandbox host itself';
      return null;
    },
  };
}

function rangeOf(address: Address): string {
  if (address.kind() === 'ipv4') return address.range();
  const range = address.range();
  // Only what is delegated as global unicast; ::/96 and other corners have no range name of their own.
  return range === 'unicast' && !within(address, GLOBAL_UNICAST_V6) ? 'reserved' : range;
}

function within(address: Address, [base, bits]: Range): boolean {
  return address.kind() === base.kind() && address.match(base, bits);
}

function parseRange(text: string): Range {
  try {
    return ipaddr.parseCIDR(text);
  } catch {
    throw new AppError('configuration', `MANYHANDS_EGRESS_EXTRA_DENY: ${JSON.stringify(text)} is no range; give CIDR like 203.0.113.0/24`);
  }
}

function systemAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address.replace(/%.*$/, '')));
}
