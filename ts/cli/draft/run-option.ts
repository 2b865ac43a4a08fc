import type { RunDraft } from './run-draft.js'

/** One option of `kvm-accel run`. */
export interface RunOption {
  /** QEMU's name, with one dash. Two dashes mean the same. */
  readonly name: string
  readonly aliases?: readonly string[]
  /** What follows it, as help shows it; absent for a flag. */
  readonly argument?: string
  /** What repeating it does. */
  readonly repeated: 'last wins' | 'adds' | 'no effect' | 'refused'
  /** What it does here, for help. */
  readonly about: string
  /** What QEMU does that we do not, or do otherwise; empty when there is no difference within `argument`. */
  readonly differs: string
  /** Reads the argument (empty for a flag); a returned text is printed instead of running. */
  readonly read: (draft: RunDraft, argument: string) => string | void
}
