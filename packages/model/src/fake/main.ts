/** The fake model as a process: `up` starts it when no model key is configured. */
import { commonEnv, createLifecycle, createLogger, envInt, loadEnv, runMain } from '@manyhands/base';
import { z } from 'zod';
import { startFakeModel } from './fake-model.ts';
import { renameVariables } from './names.ts';

runMain(async () => {
  const { env: named, warnings } = renameVariables(process.env);
  const env = loadEnv(
    z.object({
      MANYHANDS_LOG_LEVEL: commonEnv.MANYHANDS_LOG_LEVEL,
      /** The address to listen on; a container of its own needs 0.0.0.0. */
      MANYHANDS_FAKE_MODEL_HOST: z.string().default('127.0.0.1'),
      /** 0 takes any free port. */
      MANYHANDS_FAKE_MODEL_PORT: envInt(0, 0, 65_535),
      /** Tokens that a prompt may have; 0 for any number. */
      MANYHANDS_FAKE_MODEL_CONTEXT_WINDOW: envInt(0, 0, 100_000_000),
    }),
    named,
  );
  const log = createLogger('fake-model', env.MANYHANDS_LOG_LEVEL);
  for (const warning of warnings) log.warn(warning);
  const lifecycle = createLifecycle(log, process.env);
  const { MANYHANDS_FAKE_MODEL_CONTEXT_WINDOW: contextWindow } = env;
  const fake = await startFakeModel({
    ...{ host: env.MANYHANDS_FAKE_MODEL_HOST, port: env.MANYHANDS_FAKE_MODEL_PORT },
    ...(contextWindow === 0 ? {} : { contextWindow }),
  });
  lifecycle.onShutdown('server', () => fake.close());
  lifecycle.ready({ url: fake.url });
});
