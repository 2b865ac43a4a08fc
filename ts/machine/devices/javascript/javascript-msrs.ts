import { ArgumentError } from '../../../errors/operation/argument-error.js'
import type { BindingMsrAccess } from '../../../native/binding.cjs'
import type { Control } from '../../lifecycle/control.js'
import type { NormalMsrRule } from '../../config/cpu/msr-filter.js'
import type { HandlerFailed } from './javascript-devices.js'

/** The MSRs of one machine that JavaScript answers. The vCPU still waits when a failure is reported. */
export class JavaScriptMsrs {
  readonly #control: Control
  readonly #rules: readonly NormalMsrRule[]
  readonly #failed: HandlerFailed
  #ended = false

  constructor(control: Control, rules: readonly NormalMsrRule[], failed: HandlerFailed) {
    this.#control = control
    this.#rules = rules
    this.#failed = failed
  }

  /** Answers an access; never throws. */
  access(access: BindingMsrAccess): void {
    this.#control.answering(() => this.#handle(access))
  }

  /** The machine is ending: failures are no longer reported. */
  end(): void {
    this.#ended = true
  }

  async #handle({ id, rule, vcpu, index, write: written }: BindingMsrAccess): Promise<void> {
    const { read, write } = this.#rules[rule] ?? {}
    try {
      if (written === undefined) {
        const value = typeof read === 'function' ? await read(index, vcpu) : 'fault'
        this.#control.native.answerMsr(id, value === 'fault' ? undefined : msrBits(value, index))
      } else {
        const result = typeof write === 'function' ? await write(index, written, vcpu) : 'fault'
        this.#control.native.answerMsr(id, result === 'fault' ? undefined : 0n)
      }
    } catch (error) {
      if (!this.#ended) this.#failed(`MSR 0x${index.toString(16)}`, error, true)
    }
  }
}

function msrBits(value: unknown, index: number): bigint {
  const bits = typeof value === 'bigint' || Number.isSafeInteger(value) ? BigInt(value as bigint | number) : -1n
  if (bits >= 0n && bits < 1n << 64n) return bits
  const what = `read() of MSR 0x${index.toString(16)} returned ${String(value)}`
  throw new ArgumentError(`${what}: expected a whole number from 0 to 2^64 - 1`, {
    argument: 'read',
    remedy: "Return a number or a bigint, or 'fault'.",
  })
}
