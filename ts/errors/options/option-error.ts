import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** A command-line option does not exist, or does not accept the argument. */
export class OptionError extends KvmAccelError {
  override readonly name = 'OptionError'
  declare readonly code: 'ERR_OPTION'
  /** The option as QEMU spells it, with one dash. */
  readonly option: string

  constructor(message: string, details: ErrorDetails & { readonly option: string }) {
    super('ERR_OPTION', message, details)
    this.option = details.option
  }
}
