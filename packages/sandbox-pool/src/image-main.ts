/**
 * Makes sure that the base image of sandboxes is on the Docker engine, then ends. Progress for people goes to stderr; stdout gets one line of
 * JSON, `{"image": "manyhands/sandbox:<recipe>"}`. What cannot be done is one message that says what to do, and exit code 1.
 */
import path from 'node:path';
import { loadEnv, runMain } from '@manyhands/base';
import { z } from 'zod';
import { connectEngine } from './drivers/docker/engine.ts';
import { parseDockerHost } from './drivers/docker/engine-address.ts';
import { ensureBaseImage } from './images/base-image.ts';
import { imageEnv } from './images/image-env.ts';

const ImageEnv = z.object(imageEnv);

runMain(async () => {
  const env = loadEnv(ImageEnv, process.env);
  const image = await ensureBaseImage({
    engine: connectEngine(parseDockerHost(env.DOCKER_HOST, process.env)),
    image: env.MANYHANDS_SANDBOX_IMAGE ?? null,
    mmdebstrap: env.MANYHANDS_MMDEBSTRAP === undefined ? null : path.resolve(env.MANYHANDS_MMDEBSTRAP),
    cache: path.resolve(env.MANYHANDS_CACHE),
    hostEnvironment: process.env,
    say: (line) => process.stderr.write(`${line}\n`),
  });
  process.stdout.write(`${JSON.stringify({ image })}\n`);
});
