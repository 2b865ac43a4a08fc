import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** Which image was refused. */
export type GuestImageKind = 'kernel' | 'initrd' | 'firmware'

/** What can be wrong with an image. */
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
 * What is wrong with an image:
 * - `truncated`: it ends before what its headers promise;
 * - `wrong-class`: an ELF file of another class, byte order, machine or type than its format needs;
 * - `overlap`: two parts of it want the same guest memory;
 * - `does-not-fit`: it needs more guest memory than there is, or memory that is not RAM;
 * - `unrecognised`: no known format's magic number is in it;
 * - `unreadable`: the file cannot be read, see `cause`;
 * - `malformed`: its headers contradict themselves or its format.
 */
export type GuestImageProblem = (typeof guestImageProblems)[number]

/** A kernel, an initrd or firmware that cannot be loaded. */
export class GuestImageError extends KvmAccelError {
  override readonly name = 'GuestImageError'
  declare readonly code: 'ERR_GUEST_IMAGE'
  /** Which image. */
  readonly image: GuestImageKind
  /** What is wrong with it, for programs. */
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
