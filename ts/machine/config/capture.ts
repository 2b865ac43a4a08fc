// The options of run() beside those of the machine.

import type { OptionsOf } from '../../schema/entry.js'
import { boolean, integer } from '../../schema/scalars.js'

export const captureMembers = {
  /**
   * Captures the output of COM1 in the result. `false` for a program that selects the targets of the
   * serial ports itself.
   *
   * @default true
   */
  capture: boolean({ default: true }),
  /**
   * The number of captured bytes, 0 to 1073741824, after which the machine ends with reason
   * `max-output`.
   *
   * @default 1048576
   */
  maxOutput: integer({ min: 0, max: 2 ** 30, unit: 'bytes', default: 1 << 20 }),
  /**
   * The milliseconds for which the guest may run, 1 to 2147483647. The machine then ends with reason
   * `timeout`.
   *
   * @default none
   */
  timeout: integer({ min: 1, max: 2 ** 31 - 1, unit: 'milliseconds', default: null }),
}

/** The options of {@link run} beside {@link MachineOptions}. */
export interface CaptureOptions extends OptionsOf<typeof captureMembers> {}
