/** Frames on the daemon socket: 4 bytes of big-endian length, then that many bytes of UTF-8 JSON. */
import { HAND_MAX_FRAME_BYTES } from '@manyhands/contract';

const HEADER_BYTES = 4;

export function encodeFrame(message: unknown): Buffer {
  const body = Buffer.from(JSON.stringify(message), 'utf8');
  if (body.length > HAND_MAX_FRAME_BYTES) throw new Error(`a frame of ${body.length} bytes is above the limit of ${HAND_MAX_FRAME_BYTES}`);
  const frame = Buffer.allocUnsafe(HEADER_BYTES + body.length);
  frame.writeUInt32BE(body.length, 0);
  body.copy(frame, HEADER_BYTES);
  return frame;
}

/** Cuts a byte stream into messages. Throws when a frame is too long or is not JSON: the connection is then of no more use. */
export function createFrameDecoder(onMessage: (message: unknown) => void): (chunk: Buffer) => void {
  let chunks: Buffer[] = [];
  let heldBytes = 0;
  /** Bytes that the frame at the front needs in all, once its header was seen. */
  let neededBytes = HEADER_BYTES;

  return (chunk) => {
    chunks.push(chunk);
    heldBytes += chunk.length;
    while (heldBytes >= neededBytes) {
      // Joined only when something can be taken out, so that a large frame in small pieces is copied once.
      const held = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, heldBytes);
      const bodyBytes = held.readUInt32BE(0);
      if (bodyBytes > HAND_MAX_FRAME_BYTES) throw new Error(`a frame of ${bodyBytes} bytes is above the limit of ${HAND_MAX_FRAME_BYTES}`);
      neededBytes = HEADER_BYTES + bodyBytes;
      if (held.length < neededBytes) {
        chunks = [held];
        return;
      }
      const body = held.toString('utf8', HEADER_BYTES, neededBytes);
      const rest = held.subarray(neededBytes);
      chunks = rest.length > 0 ? [rest] : [];
      heldBytes = rest.length;
      neededBytes = HEADER_BYTES;
      onMessage(JSON.parse(body));
    }
  };
}
