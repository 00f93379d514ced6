import { describe, expect, test } from 'vitest';
import { NO_SETTING, refusedByNetworking } from '../src/proxy/networking-rules.ts';
import { createReachPolicy } from '../src/proxy/reach-policy.ts';
import { authorityTarget, urlTarget } from '../src/proxy/target.ts';

describe('the reach policy', () => {
  const policy = createReachPolicy({
    extraDeny: ['203.0.114.0/24', '2600:1234::/32'],
    ownAddresses: () => ['93.184.216.99', '2600:9999::1'],
  });

  test.each([
    ['127.0.0.1', 'loopback'],
    ['127.8.8.8', 'loopback'],
    ['0.0.0.0', 'unspecified'],
    ['0.1.2.3', 'unspecified'],
    ['10.1.2.3', 'private'],
    ['172.16.0.1', 'private'],
    ['172.31.255.255', 'private'],
    ['192.168.1.1', 'private'],
    ['169.254.169.254', 'linkLocal'],
    ['100.64.0.1', 'carrierGradeNat'],
    ['100.100.100.200', 'carrierGradeNat'],
    ['192.0.0.192', 'reserved'],
    ['198.18.0.1', 'reserved'],
    ['198.51.100.1', 'reserved'],
    ['203.0.113.1', 'reserved'],
    ['224.0.0.1', 'multicast'],
    ['240.0.0.1', 'reserved'],
    ['255.255.255.255', 'broadcast'],
    ['168.63.129.16', 'metadata'],
    ['203.0.114.7', 'installation denies'],
    ['93.184.216.99', 'host itself'],
    ['::', 'unspecified'],
    ['::1', 'loopback'],
    ['::7f00:1', 'reserved'],
    ['::ffff:127.0.0.1', 'ipv4Mapped'],
    ['::ffff:8.8.8.8', 'ipv4Mapped'],
    ['::ffff:0:8.8.8.8', 'rfc6145'],
    ['64:ff9b::a9fe:a9fe', 'rfc6052'],
    ['2002:7f00:1::', '6to4'],
    ['2001:0:1::', 'teredo'],
    ['fe80::1', 'linkLocal'],
    ['fe80::1%eth0', 'not an address'],
    ['fc00::1', 'uniqueLocal'],
    ['fd00:ec2::254', 'uniqueLocal'],
    ['fec0::1', 'deprecatedSiteLocal'],
    ['ff02::1', 'multicast'],
    ['2001:db8::1', 'reserved'],
    ['4000::1', 'reserved'],
    ['2600:1234::9', 'installation denies'],
    ['2600:9999:0:0:0:0:0:1', 'host itself'],
    ['example.com', 'not an address'],
    ['', 'not an address'],
  ])('%s is refused: %s', (address, why) => {
    expect(policy.refusal(address)).toContain(why);
  });

  test.each(['1.1.1.1', '8.8.8.8', '93.184.216.34', '172.32.0.1', '100.128.0.1', '2606:4700::1111', '2a00:1450:4001::200e'])(
    '%s is public',
    (address) => {
      expect(policy.refusal(address)).toBeNull();
    },
  );

  test('every address of this machine is refused without being told, and a range that is none is a configuration error', () => {
    expect(createReachPolicy().refusal('127.0.0.1')).not.toBeNull();
    expect(() => createReachPolicy({ extraDeny: ['10.0.0.0'] })).toThrow(/MANYHANDS_EGRESS_EXTRA_DENY/);
  });
});

describe('targets', () => {
  test.each([
    ['2130706433:80', '127.0.0.1'],
    ['0x7f000001:80', '127.0.0.1'],
    ['0177.0.0.1:443', '127.0.0.1'],
    ['127.1:80', '127.0.0.1'],
    ['0xa9.0xfe.0xa9.0xfe:80', '169.254.169.254'],
    ['①②⑦.⓪.⓪.①:80', '127.0.0.1'],
    ['[::1]:443', '::1'],
    ['[::ffff:127.0.0.1]:443', '::ffff:7f00:1'],
    ['[0:0:0:0:0:0:0:1]:80', '::1'],
  ])('%s is the address %s', (authority, host) => {
    expect(authorityTarget(authority)).toMatchObject({ host, isAddress: true });
  });

  test('names are lower-case, ASCII and without trailing dot', () => {
    expect(authorityTarget('Example.COM.:443')).toEqual({ host: 'example.com', port: 443, isAddress: false });
    expect(urlTarget('http://user:pw@BÜCHER.example/a?b')).toEqual({ host: 'xn--bcher-kva.example', port: 80, isAddress: false });
    expect(urlTarget('https://a.example')).toMatchObject({ port: 443 });
  });

  test.each([
    'example.com',
    'example.com:',
    'example.com:0',
    'example.com:99999',
    ':80',
    'a b:80',
    'a/b:80',
    'u@h:80',
    'h:80:80',
    '[::1:80',
    '',
    '256.1.1.1:80',
  ])('CONNECT to %j is no target', (authority) => {
    expect(authorityTarget(authority)).toBeNull();
  });

  test.each(['ftp://a.example/', '/path', 'file:///etc/passwd', 'http://', 'gopher://x'])('%j is no URL to go to', (url) => {
    expect(urlTarget(url)).toBeNull();
  });
});

describe('networking', () => {
  const limited = (allowed_hosts: string[], allow_package_managers = false) =>
    ({ type: 'limited', allowed_hosts, allow_mcp_servers: false, allow_package_managers }) as const;
  const passes = (networking: Parameters<typeof refusedByNetworking>[0], authority: string) =>
    refusedByNetworking(networking, authorityTarget(authority)!) === null;

  test('exact names match only themselves, *.domain only its subdomains', () => {
    const rules = limited(['API.example.com', '*.wild.example']);
    expect(
      ['api.example.com', 'API.EXAMPLE.COM.', 'a.wild.example', 'a.b.wild.example'].map((host) => passes(rules, `${host}:443`)),
    ).toEqual([true, true, true, true]);
    expect(
      ['example.com', 'x.api.example.com', 'wild.example', 'evilwild.example', 'a.wild.example.evil', 'api.example.com.evil'].some((host) =>
        passes(rules, `${host}:443`),
      ),
    ).toBe(false);
  });

  test('bare addresses pass only if listed', () => {
    expect(passes(limited(['*.1.1.1', 'example.com']), '1.1.1.1:443')).toBe(false);
    expect(passes(limited(['1.1.1.1']), '1.1.1.1:443')).toBe(true);
    expect(passes(limited(['1.1.1.1']), '0x01010101:443')).toBe(true);
    expect(passes(limited([]), '[2606:4700::1]:443')).toBe(false);
  });

  test('package registries pass with allow_package_managers alone', () => {
    expect(passes(limited([], true), 'rubygems.org:443')).toBe(true);
    expect(passes(limited([]), 'rubygems.org:443')).toBe(false);
  });

  test('a refusal names the setting that would allow it; unrestricted refuses no name', () => {
    const refused = refusedByNetworking(limited([]), authorityTarget('a.example:443')!);
    expect(refused?.remedy).toContain('"a.example" to config.networking.allowed_hosts');
    expect(refused?.remedy).not.toBe(NO_SETTING);
    expect(passes({ type: 'unrestricted' }, 'a.example:443')).toBe(true);
  });
});
