import type { MachineWarning } from '../errors/operation/warning.js'
import { readMembers } from '../schema/compound.js'
import { conflict, unknownMember } from '../schema/invalid.js'
import { captureMembers, type CaptureOptions } from './config/capture.js'
import { machineMembers, type MachineOptions } from './config/machine-options.js'
import type { Exit } from './events/exit.js'
import type { MachineCounters } from './events/statistics.js'
import { Machine } from './machine.js'

/** The result of {@linkcode run}: how the machine ended, with its output, counters and warnings. */
export interface RunResult extends Omit<Exit, 'reason'> {
  /**
   * A reason of {@linkcode Exit}, or:
   * - `timeout`: the guest ran for option `timeout`;
   * - `max-output`: the guest wrote more than option `maxOutput`.
   */
  readonly reason: Exit['reason'] | 'timeout' | 'max-output'
  /** The output of COM1, decoded as UTF-8; empty without option `capture`. */
  readonly output: string
  /** The same output, undecoded. */
  readonly bytes: Buffer
  /** The machine's counters at its end. */
  readonly counters: MachineCounters
  /** The warnings of the machine, in their order. */
  readonly warnings: readonly MachineWarning[]
}

/**
 * Creates a machine, runs its guest to the end, and returns the captured output. However the machine
 * ends, the promise settles after all its resources are released. A machine that stays for inspection
 * (`internal-error`, `noShutdown`) is ended, too.
 *
 * @example
 * ```ts
 * import { guestImage, run } from 'kvm-accel'
 *
 * const { reason, output } = await run({ kernel: guestImage('hello'), noReboot: true, timeout: 10_000 })
 * console.log(reason, output)
 * ```
 * @throws the errors of {@linkcode Machine.create}. An abort of option `signal` during the creation
 * rejects with its reason; a later one gives reason `aborted`.
 */
export async function run(options: MachineOptions & CaptureOptions): Promise<RunResult> {
  const { capture, maxOutput, timeout, ...machineOptions } = { ...options }
  const known = Object.keys({ ...captureMembers, ...machineMembers })
  for (const key of Object.keys(machineOptions)) if (!known.includes(key)) throw unknownMember('', key, known)
  const limits = readMembers(captureMembers, { capture, maxOutput, timeout }, '')
  if (limits.capture && (machineOptions.serial ?? machineOptions.serials) !== undefined) {
    throw conflict('capture', "the target of COM1 is given by 'serial' or 'serials'", 'Give capture: false.')
  }
  await using machine = await Machine.create(limits.capture ? { ...machineOptions, serial: 'stream' } : machineOptions)
  const warnings: MachineWarning[] = []
  machine.on('warning', warning => warnings.push(warning))
  let limit: 'timeout' | 'max-output' | undefined
  const end = (reached: 'timeout' | 'max-output') => {
    limit ??= reached
    void machine.stop()
  }
  const captured = limits.capture ? read(machine, limits.maxOutput, () => end('max-output')) : Buffer.alloc(0)
  let timer: NodeJS.Timeout | undefined
  try {
    await machine.start().catch((error: unknown) => {
      // An abort between the creation and the start is the machine's end, as a later one is.
      if (!machineOptions.signal?.aborted) throw error
    })
    if (limits.timeout !== null) timer = setTimeout(() => end('timeout'), limits.timeout)
    const exit = await machine.wait()
    await machine.stop()
    const bytes = await captured
    const reason = exit.reason === 'host-quit' ? (limit ?? exit.reason) : exit.reason
    return { ...exit, reason, output: bytes.toString(), bytes, counters: machine.counters(), warnings }
  } finally {
    clearTimeout(timer)
  }
}

/** Reads COM1 to its end, and keeps at most `most` bytes. Calls `full` at the first byte beyond. */
function read({ serial }: Machine, most: number, full: () => void): Promise<Buffer> {
  const chunks: Buffer[] = []
  let kept = 0
  return new Promise(resolve => {
    serial.on('data', (chunk: Buffer) => {
      if (kept + chunk.length > most) full()
      const part = chunk.subarray(0, most - kept)
      kept += part.length
      chunks.push(part)
    })
    const done = () => resolve(Buffer.concat(chunks))
    serial.once('end', done)
    serial.once('close', done)
  })
}
