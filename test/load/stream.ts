/** Reads an event stream as a client does, with the moment at which each event was there. */
export interface Seen {
  /** performance.now() when the bytes came. */
  at: number;
  event: { type: string; [field: string]: unknown };
}

export interface Stream {
  /** The first event from now on that is of this type, or fits. */
  next(wanted: string | ((event: Seen['event']) => boolean)): Promise<Seen>;
  close(): void;
}

export async function openStream(url: string, headers: Record<string, string> = {}): Promise<Stream> {
  const controller = new AbortController();
  const response = await fetch(url, { headers, signal: controller.signal });
  if (!response.ok) throw new Error(`the stream answered ${response.status}: ${await response.text()}`);
  const waiting = new Set<{ fits: (event: Seen['event']) => boolean; resolve: (seen: Seen) => void }>();
  void (async () => {
    const decoder = new TextDecoder();
    let text = '';
    for await (const chunk of response.body!) {
      const at = performance.now();
      const frames = (text + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n\n');
      text = frames.pop() ?? '';
      for (const frame of frames) {
        const data = frame.split('\n').find((line) => line.startsWith('data: '));
        if (data === undefined) continue;
        const event = JSON.parse(data.slice('data: '.length)) as Seen['event'];
        for (const one of waiting) {
          if (!one.fits(event)) continue;
          waiting.delete(one);
          one.resolve({ at, event });
        }
      }
    }
  })().catch(() => {});
  return {
    next(wanted) {
      const fits = typeof wanted === 'string' ? ({ type }: Seen['event']) => type === wanted : wanted;
      return new Promise((resolve) => void waiting.add({ fits, resolve }));
    },
    close: () => controller.abort(),
  };
}
