/**
 * The progress of a pull, an import or a build: JSON objects, one after the other, the last of which may be an error although the HTTP status
 * was 200. An engine that says nothing for `silenceMs` is given up.
 */
import { AppError, ensureError } from '@manyhands/base';
import { z } from 'zod';

const ProgressLine = z.object({
  stream: z.string().optional(),
  status: z.string().optional(),
  id: z.string().optional(),
  progress: z.string().optional(),
  error: z.string().optional(),
});
type ProgressLine = z.infer<typeof ProgressLine>;

/** What an error shows of the output before it. */
const SHOWN_LINES = 15;

const COLOURS = /\u001b\[[0-9;]*m/g;

/** Reads the stream to its end. Throws `internal` with the last lines when it tells of an error, `timeout` when it falls silent. */
export async function followProgress(
  stream: NodeJS.ReadableStream,
  { say, silenceMs }: { say: (line: string) => void; silenceMs: number },
): Promise<void> {
  const last: string[] = [];
  let rest = '';
  let failure: string | null = null;

  function take(text: string): void {
    const parsed = parseLine(text);
    if (!parsed) return;
    if (parsed.error !== undefined) failure = parsed.error;
    for (const line of linesOf(parsed)) {
      last.push(line);
      if (last.length > SHOWN_LINES) last.shift();
      say(line);
    }
  }

  await new Promise<void>((resolve, reject) => {
    const tooQuiet = () => {
      reject(new AppError('timeout', `the Docker engine has said nothing for ${silenceMs / 1000} s`));
      (stream as NodeJS.ReadableStream & { destroy?: () => void }).destroy?.();
    };
    let timer = setTimeout(tooQuiet, silenceMs);
    const settle = (act: () => void) => {
      clearTimeout(timer);
      act();
    };
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      clearTimeout(timer);
      timer = setTimeout(tooQuiet, silenceMs);
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) take(line);
    });
    stream.once('end', () => settle(resolve));
    stream.once('close', () => settle(resolve));
    stream.once('error', (error) =>
      settle(() => reject(new AppError('unavailable', `the Docker engine broke off: ${ensureError(error).message}`, { cause: error }))),
    );
  });
  take(rest);
  if (failure !== null) throw new AppError('internal', [...last.filter((line) => line !== failure), failure].join('\n'));
}

function parseLine(text: string): ProgressLine | null {
  if (text.trim() === '') return null;
  try {
    return ProgressLine.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** Bars of single layers are left out: they come hundreds of times. */
function linesOf({ stream, status, id, progress }: ProgressLine): string[] {
  if (stream !== undefined)
    return stream
      .split('\n')
      .map((line) => line.replace(COLOURS, '').trimEnd())
      .filter((line) => line !== '');
  if (status === undefined || progress !== undefined) return [];
  return [id === undefined ? status : `${id}: ${status}`];
}
