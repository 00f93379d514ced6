/** The model double as a process: `up` starts it when no model key is configured. */
import { commonEnv, createLifecycle, createLogger, envInt, loadEnv, runMain } from '@manyhands/base';
import { z } from 'zod';
import { startModelDouble } from './model-double.ts';

runMain(async () => {
  const env = loadEnv(
    z.object({
      MANYHANDS_LOG_LEVEL: commonEnv.MANYHANDS_LOG_LEVEL,
      /** The address to listen on; a container of its own needs 0.0.0.0. */
      MANYHANDS_DOUBLE_HOST: z.string().default('127.0.0.1'),
      /** 0 takes any free port. */
      MANYHANDS_DOUBLE_PORT: envInt(0, 0, 65_535),
      /** Tokens that a prompt may have; 0 for any number. */
      MANYHANDS_DOUBLE_CONTEXT_WINDOW: envInt(0, 0, 100_000_000),
    }),
    process.env,
  );
  const log = createLogger('model-double', env.MANYHANDS_LOG_LEVEL);
  const lifecycle = createLifecycle(log, process.env);
  const double = await startModelDouble({ host: env.MANYHANDS_DOUBLE_HOST, port: env.MANYHANDS_DOUBLE_PORT });
  lifecycle.onShutdown('server', () => double.close());
  lifecycle.ready({ url: double.url });
});
