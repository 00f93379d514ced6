/** For libraries that want a logger and tests that do not want to read it. */
import { createLogger, type Logger } from '@manyhands/base';

export const silentLogger: Logger = createLogger('test', 'silent');
