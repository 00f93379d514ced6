/**
 * What a Redis URL names: one server, a cluster, or a master that sentinels know. An error says which part is wrong and what to write, and
 * never repeats a part of the text, since a slip in the text may put the password anywhere (I7).
 *
 * - `redis://[user:password@]host[:port][/db]`, `rediss://…` with TLS, or the absolute path of a Unix socket
 * - `redis+cluster://[user:password@]host:port,host:port`: some of its nodes; the others are found
 * - `redis+sentinel://[user:password@]host:port,host:port/<master name>[/<db>][?sentinel_username=…&sentinel_password=…]`: user and password
 *   are those of the servers; sentinels are asked with those of the query, or with none
 */
import { AppError } from '../errors.ts';

export interface RedisAddress {
  host: string;
  port: number;
}
export interface RedisCredentials {
  username?: string;
  password?: string;
}
export type RedisPlace =
  | { kind: 'single'; url: string }
  | { kind: 'cluster'; nodes: RedisAddress[]; credentials: RedisCredentials }
  | {
      kind: 'sentinel';
      sentinels: RedisAddress[];
      masterName: string;
      db: number;
      credentials: RedisCredentials;
      sentinelCredentials: RedisCredentials;
    };

const FORMS =
  'redis://host:port, rediss://host:port, redis+cluster://host:port,host:port or redis+sentinel://host:port,host:port/<master name>';
const REDIS_PORT = 6379;
const SENTINEL_PORT = 26_379;
const PORT_MAX = 65_535;
const SENTINEL_QUERY = ['sentinel_username', 'sentinel_password'];
/** Scheme, user and password, addresses, path, query. The last @ before the path ends the password, which may hold one by mistake. */
const MANY = /^redis\+(cluster|sentinel):\/\/(?:([^/?]*)@)?([^/?@]*)(?:\/([^?]*))?(?:\?(.*))?$/s;
const ADDRESS = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/;

/** Throws AppError `configuration`. */
export function parseRedisUrl(text: string): RedisPlace {
  if (text.startsWith('/')) return { kind: 'single', url: text };
  if (/^rediss?:\/\//.test(text)) {
    if (!URL.canParse(text))
      throw unusable('host or port is not valid, or user or password hold one of @ : / % as they are; write those as %40 %3A %2F %25');
    return { kind: 'single', url: text };
  }
  const [, kind, userinfo, hosts = '', path = '', query = ''] = MANY.exec(text) ?? [];
  if (kind === undefined) throw unusable(`the beginning is none that is known, or what follows it is no list of addresses; write ${FORMS}`);
  if (path.includes('@') || query.includes('@')) throw unusable('user or password hold a / or ? as it is; write those as %2F %3F');
  const credentials = parseCredentials(userinfo);
  if (kind === 'cluster') {
    if (path !== '' && path !== '0') throw unusable('a cluster has one database only; leave out what follows the addresses');
    if (query !== '') throw unusable('a cluster takes no settings; leave out what follows the "?"');
    return { kind, nodes: parseAddresses(hosts, REDIS_PORT), credentials };
  }
  const sentinels = parseAddresses(hosts, SENTINEL_PORT);
  const [masterName = '', db = '0', ...more] = path.split('/');
  if (masterName === '') throw unusable('the name of the master is missing; write it behind the addresses: …host:port/<master name>');
  if (!/^\d{1,4}$/.test(db) || more.length > 0)
    throw unusable('what follows the name of the master is no number of a database; write /0, or leave it out');
  return {
    ...{ kind: 'sentinel', sentinels, masterName: decoded(masterName, 'the name of the master'), db: Number(db), credentials },
    sentinelCredentials: parseSentinelQuery(query),
  };
}

function parseAddresses(list: string, defaultPort: number): RedisAddress[] {
  return list.split(',').map((text, i) => {
    const [, bracketed, plain, digits] = ADDRESS.exec(text) ?? [];
    const host = bracketed ?? plain;
    const port = digits === undefined ? defaultPort : Number(digits);
    if (host === undefined || port < 1 || port > PORT_MAX)
      throw unusable(
        `address ${i + 1} is not valid; write host:port, such as 127.0.0.1:${defaultPort} or [::1]:${defaultPort}, and commas between`,
      );
    return { host, port };
  });
}

function parseCredentials(userinfo: string | undefined): RedisCredentials {
  if (userinfo === undefined) return {};
  const [, user = '', password = ''] = /^([^:]*):(.*)$/s.exec(userinfo) ?? [];
  if (password === '') throw unusable('there is an "@" without a password before it; write user:password@ or :password@');
  return {
    ...(user === '' ? {} : { username: decoded(user, 'the user') }),
    password: decoded(password, 'the password'),
  };
}

function parseSentinelQuery(query: string): RedisCredentials {
  const given = new URLSearchParams(query);
  for (const name of given.keys())
    if (!SENTINEL_QUERY.includes(name)) throw unusable(`behind the "?" only ${SENTINEL_QUERY.join(' and ')} are known; leave out the rest`);
  const [username, password] = SENTINEL_QUERY.map((name) => given.get(name) ?? '');
  if (username && !password) throw unusable('sentinel_username is given without sentinel_password; give both, or the password alone');
  return { ...(username ? { username } : {}), ...(password ? { password } : {}) };
}

function decoded(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    throw unusable(`${what} holds a "%" that begins no %-code; write it as %25`, error);
  }
}

function unusable(problem: string, cause?: unknown): AppError {
  return new AppError('configuration', `the Redis URL cannot be used: ${problem}`, { cause });
}
