import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** A command-line option that does not exist, or an argument that it does not take. */
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
