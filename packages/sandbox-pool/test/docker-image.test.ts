/** The base image on a real engine, by small recipes that start from the image that is there: nothing is downloaded. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { engineUnavailable, type TemporaryDirectory, type TestEngine, temporaryDirectory, testEngine } from '@manyhands/test-kit';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { connectEngine, type Engine } from '../src/drivers/docker/engine.ts';
import { parseDockerHost } from '../src/drivers/docker/engine-address.ts';
import { ensureBaseImage, hasImage } from '../src/images/base-image.ts';
import { IMAGE_REPOSITORY, type ImageRecipe, readRecipe } from '../src/images/image-recipe.ts';
import { TRIAL_LABEL } from '../src/images/image-trial.ts';
import { dockerAt } from './docker-host.ts';

const missing = engineUnavailable();
// Run by itself, this file may have to make the image first.
vi.setConfig({ hookTimeout: 300_000, testTimeout: 120_000 });

describe.skipIf(missing !== null)(missing ?? 'the base image', () => {
  let running: TestEngine;
  let engine: Engine;
  let directory: TemporaryDirectory;
  let said: string[];
  beforeAll(async () => {
    running = await testEngine();
    engine = connectEngine(parseDockerHost(running.host));
  });
  afterAll(() => running?.[Symbol.asyncDispose]());
  beforeEach(async () => {
    directory = await temporaryDirectory('image');
    said = [];
  });
  afterEach(() => directory.remove());

  async function recipeOf(dockerfile: string): Promise<ImageRecipe> {
    await writeFile(path.join(directory.path, 'Dockerfile'), dockerfile);
    await writeFile(path.join(directory.path, 'packages.txt'), `# ${path.basename(directory.path)}\n`);
    return readRecipe(directory.path);
  }
  const ensure = (recipe: ImageRecipe) =>
    ensureBaseImage({
      ...{ engine, recipe, image: null, mmdebstrap: null, cache: path.join(directory.path, 'cache'), hostEnvironment: process.env },
      say: (line) => said.push(line),
    });
  async function expectNothingLeft(image: string): Promise<void> {
    expect(await hasImage(engine, image)).toBe(false);
    const docker = dockerAt(running.host);
    expect(await docker.listImages({ filters: { reference: [`${IMAGE_REPOSITORY}-draft`] } })).toEqual([]);
    expect(
      (await docker.listContainers({ all: true, filters: { label: [TRIAL_LABEL] } })).map(({ Labels }) => Labels[TRIAL_LABEL]),
    ).toEqual([]);
  }

  test('is built once, with progress, however many ask for it at the same time, and is there from then on', async () => {
    const recipe = await recipeOf(`FROM ${running.image}\nENV BUILT=yes\n`);
    try {
      expect(await Promise.all([ensure(recipe), ensure(recipe)])).toEqual([recipe.image, recipe.image]);
      expect(said.filter((line) => line.startsWith('making the sandbox image'))).toHaveLength(1);
      expect(said).toEqual(expect.arrayContaining([expect.stringMatching(/^Step 1\/2 : FROM/), 'trying the image']));
      said = [];
      expect(await ensure(recipe)).toBe(recipe.image);
      expect(said).toEqual([]);
    } finally {
      await dockerAt(running.host).getImage(recipe.image).remove();
    }
    await expectNothingLeft(recipe.image);
  });

  test('that does not build is refused with the last lines of the build and what to do', async () => {
    const recipe = await recipeOf(`FROM ${running.image}\nRUN echo this is broken; exit 3\n`);
    await expect(ensure(recipe)).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringMatching(
        /could not be built[\s\S]*this is broken[\s\S]*non-zero code: 3[\s\S]*MANYHANDS_MMDEBSTRAP is not set[\s\S]*name it in MANYHANDS_SANDBOX_IMAGE/,
      ) as string,
    });
    await expectNothingLeft(recipe.image);
  });

  test('that lacks what a sandbox needs is not given its name', async () => {
    const recipe = await recipeOf(`FROM ${running.image}\nENV PATH=/nowhere\n`);
    await expect(ensure(recipe)).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringMatching(/is not fit for sandboxes: .*this does not run: node --version/s) as string,
    });
    await expectNothingLeft(recipe.image);
  });

  test('whose public base no registry gives is refused with the reason and what to do', async () => {
    // Nothing listens there.
    const recipe = await recipeOf('FROM 127.0.0.1:1/absent:1\n');
    await expect(ensure(recipe)).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringMatching(
        /No registry gives 127\.0\.0\.1:1\/absent:1: .*refused[\s\S]*name it in MANYHANDS_SANDBOX_IMAGE/,
      ) as string,
    });
    await expectNothingLeft(recipe.image);
  });
});
