import { invalidArgument } from '../../../errors/operation/argument-error.js'
import { EventEmitter } from 'node:events'
import { MachineConfigError } from '../../../errors/options/machine-config-error.js'
import type { BindingMachine } from '../../../native/binding.cjs'
import { balloonStatistics, type BalloonStatistics } from './balloon-statistics.js'
import { PAGE_SIZE } from '../../config/memory.js'
import { formatSize, parseSize } from '../../../schema/size.js'

/** Events of a {@link Balloon}. */
export interface BalloonEvents {
  /**
   * The amount of the guest's memory has changed: {@link Balloon.actual}, in bytes. Of several
   * changes in a row, only the last may be emitted.
   */
  change: [number]
}

/** The interface of a machine for its balloon. */
interface Owner {
  readonly native: BindingMachine
  /** True if option `balloon` was given. */
  readonly present: boolean
  /** Bytes of RAM. */
  readonly memory: number
  /** Throws when the machine has ended. */
  readonly check: (operation: string) => void
  /** Handles an exception of a listener. */
  readonly thrown: (error: unknown) => void
}

/**
 * Takes memory from a running guest and gives it back, with option `balloon`: the guest frees
 * pages, and the host uses them meanwhile.
 *
 * @example
 * ```ts
 * import { Machine } from 'kvm-accel'
 *
 * await using machine = await Machine.create({ kernel: 'vmlinux', memory: '1G', balloon: { statisticsInterval: 1000 } })
 * await machine.start()
 * machine.balloon.on('change', bytes => console.log('the guest has', bytes))
 * machine.balloon.resize('512M')
 * ```
 */
export class Balloon extends EventEmitter<BalloonEvents> {
  readonly #owner: Owner

  /** @internal Use {@linkcode Machine.balloon}. */
  constructor(owner: Owner) {
    super()
    this.#owner = owner
  }

  /**
   * The bytes that the guest has: the machine's memory without the balloon, as the guest reports
   * it.
   *
   * @throws {@linkcode MachineConfigError} when the machine has no balloon;
   * {@linkcode MachineStateError} when it has ended.
   */
  get actual(): number {
    return this.#actual(this.#native('balloon.actual'))
  }

  /**
   * Asks the guest to use this much memory, as QMP's `balloon` does. The guest gives or takes pages
   * while it runs. Event `change` reports the amount that it has reached. The request survives
   * resets.
   *
   * @param size Bytes, or a text such as `'512M'`: from 4096 to the machine's memory. It is rounded
   * up to pages of 4 KiB.
   * @throws {@linkcode MachineConfigError} when the machine has no balloon;
   * {@linkcode MachineStateError} when it has ended.
   * @throws {@linkcode ArgumentError} for another size.
   */
  resize(size: number | string): void {
    const { memory } = this.#owner
    const native = this.#native('balloon.resize')
    const bytes = typeof size === 'number' ? size : parseSize(size)
    if (typeof bytes === 'string' || !Number.isInteger(bytes) || bytes < PAGE_SIZE || bytes > memory) {
      const range = `from ${PAGE_SIZE} bytes to the machine's memory, ${formatSize(memory)}`
      throw invalidArgument('size', size, `a number of bytes or a size such as '128M', ${range}`)
    }
    native.setBalloonTarget(Math.floor((memory - bytes) / PAGE_SIZE))
  }

  /**
   * Returns the guest's last report on its memory. The guest reports every
   * {@linkcode BalloonOptions.statisticsInterval}, or without that option when its driver starts.
   * `null` before the first report.
   *
   * @throws {@linkcode MachineConfigError} when the machine has no balloon;
   * {@linkcode MachineStateError} when it has ended.
   */
  statistics(): BalloonStatistics | null {
    const report = this.#native('balloon.statistics').balloonStatistics()
    return report && balloonStatistics(report)
  }

  /** @internal The size of the balloon has changed. */
  changed(): void {
    const actual = this.#actual(this.#owner.native)
    try {
      this.emit('change', actual)
    } catch (error) {
      this.#owner.thrown(error)
    }
  }

  #actual(native: BindingMachine): number {
    return Math.max(0, this.#owner.memory - native.balloonPages() * PAGE_SIZE)
  }

  #native(operation: string): BindingMachine {
    const { native, present, check } = this.#owner
    check(operation)
    if (present) return native
    const remedy = 'Give option balloon: true.'
    throw new MachineConfigError('this machine has no balloon', { option: 'balloon', remedy })
  }
}
