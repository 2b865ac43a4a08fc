import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** Which image was refused. */
export type GuestImageKind = 'kernel' | 'initrd' | 'firmware'

/** The problems that an image can have. */
export const guestImageProblems = [
  'truncated',
  'wrong-class',
  'overlap',
  'does-not-fit',
  'unrecognised',
  'unreadable',
  'malformed',
] as const

/**
 * The problem of an image:
 * - `truncated`: it ends before a part that its headers describe;
 * - `wrong-class`: its ELF class, byte order, machine or type does not match its format;
 * - `overlap`: two parts of it occupy the same guest memory;
 * - `does-not-fit`: it needs more guest memory than the machine has, or an address that is not RAM;
 * - `unrecognised`: it has no magic number of a known format;
 * - `unreadable`: the file cannot be read, see `cause`;
 * - `malformed`: its headers contradict each other or the format.
 */
export type GuestImageProblem = (typeof guestImageProblems)[number]

/** A kernel, an initrd or firmware could not be loaded. */
export class GuestImageError extends KvmAccelError {
  override readonly name = 'GuestImageError'
  declare readonly code: 'ERR_GUEST_IMAGE'
  /** The image that could not be loaded. */
  readonly image: GuestImageKind
  /** The problem of the image, for programs. */
  readonly problem: GuestImageProblem

  constructor(
    message: string,
    details: ErrorDetails & { readonly image: GuestImageKind; readonly problem: GuestImageProblem },
  ) {
    super('ERR_GUEST_IMAGE', message, details)
    this.image = details.image
    this.problem = details.problem
  }
}
