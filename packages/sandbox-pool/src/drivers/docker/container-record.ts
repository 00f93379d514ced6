/** The driver's notes about one sandbox, in `<directory>/driver/`. They are all that a new pool process knows, so they come before the act. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import type { SandboxDirectory } from '../../files/sandbox-directory.ts';
import { storedFile } from '../../records/durable-file.ts';
import { identifyProcess, ProcessIdentity } from '../process-identity.ts';

const ContainerRecord = z.object({
  transport: z.enum(['socket', 'relay']),
  /** Null until the engine has told it. */
  container_id: z.string().nullable(),
  /** The first process of the container, where it is one of this host's. */
  init: ProcessIdentity.nullable(),
});
export type ContainerRecord = z.infer<typeof ContainerRecord>;
export const CONTAINER_FILE = storedFile(ContainerRecord, 1);

const recordFile = (directory: SandboxDirectory) => path.join(directory.driver, 'container.json');

/** Written, and synced, before the engine is asked for a container: a directory without this note never had one. */
export function writeIntent(directory: SandboxDirectory, transport: ContainerRecord['transport']): Promise<void> {
  return CONTAINER_FILE.writeDurably(recordFile(directory), { transport, container_id: null, init: null });
}
export function writeRecord(directory: SandboxDirectory, record: ContainerRecord): Promise<void> {
  return CONTAINER_FILE.replace(recordFile(directory), record);
}
export function readRecord(directory: SandboxDirectory): Promise<ContainerRecord | null> {
  return CONTAINER_FILE.read(recordFile(directory));
}

/**
 * Who the first process of a container is, if its number means the same here as to the engine: the pool may run in a container of its own or on
 * another host. The kernel's word for it is the control group, which carries the id of the container.
 */
export function identifyInit(pid: number, containerId: string): ProcessIdentity | null {
  try {
    if (pid < 2 || !readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(containerId)) return null;
    return identifyProcess(pid);
  } catch {
    return null;
  }
}
