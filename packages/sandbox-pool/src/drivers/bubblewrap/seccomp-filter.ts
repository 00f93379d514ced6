/**
 * Assembles the seccomp filter (classic BPF) of a sandbox from the tables in denied-syscalls.ts. A call of a foreign architecture kills the
 * process; so on x86_64 do 32-bit calls. The x32 numbers are answered with ENOSYS.
 *
 * Each rule is a few instructions of its own and ends in a return, so that no jump is longer than the rule. The kernel caches the verdict of
 * calls that are allowed whatever their arguments, so the length of the list costs nothing at run time.
 */
import { endianness } from 'node:os';
import {
  ALLOWED_PERSONALITIES,
  ALLOWED_SOCKET_FAMILIES,
  CLONE,
  CLONE3,
  DENIED_CALLS,
  DENIED_IOCTLS,
  ERRNO,
  IOCTL,
  NAMESPACE_FLAGS,
  PERSONALITY,
  SOCKET,
} from './denied-syscalls.ts';

export type FilterArchitecture = 'x64' | 'arm64';
export interface BpfInstruction {
  code: number;
  jumpTrue: number;
  jumpFalse: number;
  k: number;
}

const LOAD_WORD = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_AT_LEAST = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_ANY_BIT = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN = 0x06; // BPF_RET | BPF_K

/** Offsets in struct seccomp_data (little endian: the low word of an argument comes first). */
const OFFSET_CALL = 0;
const OFFSET_ARCH = 4;
const offsetOfArgument = (index: number) => 16 + 8 * index;

export const VERDICT = { allow: 0x7fff0000, killProcess: 0x80000000, errno: (errno: number) => 0x00050000 | errno } as const;
const AUDIT_ARCH: Record<FilterArchitecture, number> = { x64: 0xc000003e, arm64: 0xc00000b7 };
const X32_BIT = 0x40000000;

const op = (code: number, k: number, jumpTrue = 0, jumpFalse = 0): BpfInstruction => ({ code, jumpTrue, jumpFalse, k: k >>> 0 });
const load = (offset: number) => op(LOAD_WORD, offset);
const verdict = (value: number) => op(RETURN, value);

/** If the loaded word is `value`, runs `then`, which must end in a return. */
const whenEqual = (value: number, then: BpfInstruction[]) => [op(JUMP_EQUAL, value, 0, then.length), ...then];

/** The low word of one argument must be in the list, or the call is refused. */
function allowOnly(argument: number, allowed: readonly number[], errno: number): BpfInstruction[] {
  return [
    load(offsetOfArgument(argument)),
    ...allowed.flatMap((value) => whenEqual(value, [verdict(VERDICT.allow)])),
    verdict(VERDICT.errno(errno)),
  ];
}
function refuseOnly(argument: number, refused: readonly number[], errno: number): BpfInstruction[] {
  return [
    load(offsetOfArgument(argument)),
    ...refused.flatMap((value) => whenEqual(value, [verdict(VERDICT.errno(errno))])),
    verdict(VERDICT.allow),
  ];
}

/** The program as instructions; see {@link encodeFilter} for the bytes. */
export function assembleFilter(architecture: FilterArchitecture): BpfInstruction[] {
  const column = architecture === 'x64' ? 0 : 1;
  const denied = Object.values(DENIED_CALLS).flatMap((numbers) => {
    const number = numbers[column];
    return number === null || number === undefined ? [] : whenEqual(number, [verdict(VERDICT.errno(ERRNO.EPERM))]);
  });
  const refuseNewNamespace = [
    load(offsetOfArgument(0)),
    op(JUMP_ANY_BIT, NAMESPACE_FLAGS, 0, 1),
    verdict(VERDICT.errno(ERRNO.EPERM)),
    verdict(VERDICT.allow),
  ];
  return [
    load(OFFSET_ARCH),
    op(JUMP_EQUAL, AUDIT_ARCH[architecture], 1, 0),
    verdict(VERDICT.killProcess),
    load(OFFSET_CALL),
    ...(architecture === 'x64' ? [op(JUMP_AT_LEAST, X32_BIT, 0, 1), verdict(VERDICT.errno(ERRNO.ENOSYS))] : []),
    ...whenEqual(CLONE[column], refuseNewNamespace),
    ...whenEqual(CLONE3[column], [verdict(VERDICT.errno(ERRNO.ENOSYS))]),
    ...whenEqual(IOCTL[column], refuseOnly(1, DENIED_IOCTLS, ERRNO.EPERM)),
    ...whenEqual(PERSONALITY[column], allowOnly(0, ALLOWED_PERSONALITIES, ERRNO.EPERM)),
    ...whenEqual(SOCKET[column], allowOnly(0, ALLOWED_SOCKET_FAMILIES, ERRNO.EAFNOSUPPORT)),
    ...denied,
    verdict(VERDICT.allow),
  ];
}

/** The bytes of an array of struct sock_filter, as `bwrap --seccomp` reads them. */
export function encodeFilter(program: readonly BpfInstruction[]): Buffer {
  if (endianness() !== 'LE') throw new Error('the seccomp filter is written for little-endian machines');
  const bytes = Buffer.alloc(program.length * 8);
  for (const [index, { code, jumpTrue, jumpFalse, k }] of program.entries()) {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(jumpTrue, index * 8 + 2);
    bytes.writeUInt8(jumpFalse, index * 8 + 3);
    bytes.writeUInt32LE(k, index * 8 + 4);
  }
  return bytes;
}
