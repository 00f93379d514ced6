/** Where a Docker engine listens, from the value of DOCKER_HOST. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { AppError } from '@manyhands/base';
import type Docker from 'dockerode';

const EXAMPLE = 'unix:///var/run/docker.sock';
/** `sun_path` of Linux, without its final zero. */
const SOCKET_PATH_MAX_BYTES = 107;
const PLAIN_PORT = 2375;
const TLS_PORT = 2376;

export type EngineAddress = { host: string; options: Docker.DockerOptions };

function refuse(problem: string): never {
  throw new AppError('configuration', `DOCKER_HOST: ${problem}`);
}

/**
 * Throws `configuration` naming DOCKER_HOST. An engine at a TCP port is spoken to with TLS when DOCKER_TLS_VERIFY is set or the port is 2376,
 * with the certificates in DOCKER_CERT_PATH, as the docker command does.
 */
export function parseDockerHost(host: string, env: Record<string, string | undefined> = {}): EngineAddress {
  const unix = /^unix:\/\/(?<socket>.*)$/.exec(host)?.groups?.['socket'];
  if (unix !== undefined) {
    if (!path.isAbsolute(unix)) refuse(`${host} is not usable; give the whole path of the socket, as in ${EXAMPLE}`);
    const bytes = Buffer.byteLength(unix);
    if (bytes > SOCKET_PATH_MAX_BYTES)
      refuse(
        `the path of the socket has ${bytes} bytes, and Linux takes ${SOCKET_PATH_MAX_BYTES} at most: ${unix}. ` +
          'Make the engine listen at a shorter path, or give a short link to its directory.',
      );
    return { host, options: { socketPath: unix } };
  }
  const expected = `expected unix:///path/of/docker.sock or tcp://host:port, not ${JSON.stringify(host)}`;
  let url: URL;
  try {
    url = new URL(host);
  } catch {
    return refuse(expected);
  }
  if (url.protocol !== 'tcp:' || url.hostname === '') refuse(expected);
  const secure = env['DOCKER_TLS_VERIFY'] !== undefined && env['DOCKER_TLS_VERIFY'] !== '' && env['DOCKER_TLS_VERIFY'] !== '0';
  const port = url.port === '' ? (secure ? TLS_PORT : PLAIN_PORT) : Number(url.port);
  const base: Docker.DockerOptions = { host: url.hostname, port };
  if (!secure && port !== TLS_PORT) return { host, options: { ...base, protocol: 'http' } };
  return { host, options: { ...base, protocol: 'https', ...certificates(env['DOCKER_CERT_PATH']) } };
}

function certificates(directory: string | undefined): Docker.DockerOptions {
  if (directory === undefined || directory === '') return {};
  const read = (name: string) => {
    const file = path.join(directory, name);
    if (!existsSync(file)) throw new AppError('configuration', `DOCKER_CERT_PATH: there is no file ${file}`);
    return readFileSync(file, 'utf8');
  };
  return { ca: read('ca.pem'), cert: read('cert.pem'), key: read('key.pem') };
}
