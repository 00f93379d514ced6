/** The frames of a stream, cut out of its text as it comes. */
export interface Frame {
  id: string | null;
  event: string | null;
  data: string;
}

export interface FrameReader {
  /** The frames that this text completes. */
  read(text: string): Frame[];
  /** What is left of a frame that is not complete. */
  rest(): string;
}

export function createFrameReader(): FrameReader {
  let text = '';
  return {
    read(more) {
      text += more;
      const frames: Frame[] = [];
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        frames.push(parse(text.slice(0, end)));
        text = text.slice(end + 2);
      }
      return frames;
    },
    rest: () => text,
  };
}

function parse(text: string): Frame {
  const frame: Frame = { id: null, event: null, data: '' };
  for (const line of text.split('\n')) {
    const [, name, value] = /^(\w+): (.*)$/s.exec(line) ?? [];
    if (name === 'id') frame.id = value!;
    else if (name === 'event') frame.event = value!;
    else if (name === 'data') frame.data += value!;
    else throw new Error(`a line that is no field: ${JSON.stringify(line)}`);
  }
  return frame;
}
