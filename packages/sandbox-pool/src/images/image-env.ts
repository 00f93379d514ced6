/** The variables that decide about the Docker engine and its base image; read by the pool and by image-main.ts. */
import { homedir } from 'node:os';
import path from 'node:path';
import { z } from 'zod';

export const imageEnv = {
  /** Where the engine listens. */
  DOCKER_HOST: z.string().default('unix:///var/run/docker.sock'),
  /** The operator's own image: pulled if missing, never built. Without it ours is used, and made where it is missing. */
  MANYHANDS_SANDBOX_IMAGE: z.string().optional(),
  /** Path of mmdebstrap, which makes our image where no registry answers. */
  MANYHANDS_MMDEBSTRAP: z.string().optional(),
  /** Directory of root file systems. */
  MANYHANDS_CACHE: z.string().default(path.join(homedir(), '.cache', 'manyhands')),
};
