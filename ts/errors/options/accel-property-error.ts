import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** A property of `-accel kvm` does not exist, or does not accept the value. */
export class AccelPropertyError extends KvmAccelError {
  override readonly name = 'AccelPropertyError'
  declare readonly code: 'ERR_ACCEL_PROPERTY'
  /** The property by its name on the command line, without `kvm-accel.`. */
  readonly property: string
  /** The value that was given; absent when the property is unknown. */
  declare readonly value?: string

  constructor(
    message: string,
    details: ErrorDetails & { readonly property: string; readonly value?: string | undefined },
  ) {
    super('ERR_ACCEL_PROPERTY', message, details)
    this.property = details.property
    if (details.value !== undefined) this.value = details.value
  }
}
