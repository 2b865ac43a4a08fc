/** Fields that every error of this package may have beside its message. */
export interface ErrorDetails {
  /** The remedy, as a separate sentence. */
  readonly remedy?: string | undefined
  /** The error that caused this error, if there was one. */
  readonly cause?: unknown
}

/**
 * The base of every error that this package throws on purpose.
 *
 * The message describes the error and the violated rule. {@link KvmAccelError.remedy} describes the
 * remedy. {@link KvmAccelError.code} stays the same from one release to the next.
 */
export class KvmAccelError extends Error {
  override readonly name: string = 'KvmAccelError'
  /** An error code that stays the same from one release to the next, for programs: `ERR_…`. */
  readonly code: string
  /** The remedy, as a separate sentence. */
  declare readonly remedy?: string

  constructor(code: string, message: string, { remedy, cause }: ErrorDetails = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    if (remedy !== undefined) this.remedy = remedy
  }
}
