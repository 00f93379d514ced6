/** The other side of the bare request/reply floor: answers in a process of its own, as a pool does. */
import { connectMessaging, createLogger } from '@manyhands/base';

const messaging = await connectMessaging(process.env.NATS_URL, createLogger('echo', 'error'), 'echo');
messaging.serve('bench.echo', async () => ({ ok: true }));
process.stdin.on('end', () => process.exit(0)).resume();
process.stdout.write('ready\n');
