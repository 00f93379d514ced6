/** What every sandbox finds inside, whatever driver made it: its user, its environment, and the copies of our programs that are mounted. */
import { chmod, copyFile, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';

export interface MountedFile {
  /** On the host. */
  file: string;
  inside: string;
}

/** Copies a program so that any user may run it. By rename: a sandbox that was made with an older copy keeps that one. */
export async function copyProgram(source: string, copy: string): Promise<string> {
  const draft = `${copy}.new`;
  await rm(draft, { force: true });
  await copyFile(source, draft);
  await chmod(draft, 0o555);
  await rename(draft, copy);
  return copy;
}

/** The files of /etc that name the user of a sandbox. */
export function userFiles(uid: number, gid: number): Record<string, string> {
  return {
    passwd: `root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:${uid}:${gid}:agent:/workspace:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n`,
    group: `root:x:0:\nagent:x:${gid}:\nnogroup:x:65534:\n`,
  };
}

/** Writes files of /etc into a new directory. */
export async function writeEtc(directory: string, files: Record<string, string>): Promise<MountedFile[]> {
  await mkdir(directory, { mode: 0o755 });
  const written: MountedFile[] = [];
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(directory, name);
    await writeFile(file, text);
    await chmod(file, 0o444);
    written.push({ file, inside: `/etc/${name}` });
  }
  return written;
}

/** The environment of the sandbox daemon, without its PATH. The proxy is no part of it: the daemon sets it for its tools, it has the forwarder. */
export function agentEnvironment(): Record<string, string> {
  return {
    HOME: '/workspace',
    USER: 'agent',
    LOGNAME: 'agent',
    SHELL: '/bin/bash',
    LANG: 'C.UTF-8',
    TMPDIR: '/tmp',
    XDG_CACHE_HOME: '/var/cache/agent',
    npm_config_cache: '/var/cache/agent/npm',
  };
}
