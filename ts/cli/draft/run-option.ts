import type { RunDraft } from './run-draft.js'

/** One option of `kvm-accel run`. */
export interface RunOption {
  /** QEMU's name, with one dash. Two dashes mean the same. */
  readonly name: string
  readonly aliases?: readonly string[]
  /** The argument, as help shows it; absent for a flag. */
  readonly argument?: string
  /** The words with which the argument may begin, for the completion of a shell. */
  readonly words?: readonly string[]
  /** The effect of repeating the option. */
  readonly repeated: 'last wins' | 'adds' | 'no effect' | 'refused'
  /** The effect of the option, for help. */
  readonly about: string
  /** Differences from QEMU; empty when there is none within `argument`. */
  readonly differs: string
  /** Reads the argument (empty for a flag). A returned text is printed, and no machine runs. */
  readonly read: (draft: RunDraft, argument: string) => string | void
}
