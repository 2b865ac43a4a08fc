import { EventEmitter } from 'node:events'
import { MachineConfigError } from '../errors/machine-config-error.js'
import type { BindingMachine } from '../native/binding.cjs'
import { balloonStatistics, type BalloonStatistics } from './balloon-statistics.js'
import { PAGE_SIZE } from './config/memory.js'
import { formatSize, parseSize } from '../schema/size.js'

/** What a {@link Balloon} emits. */
export interface BalloonEvents {
  /** The guest has another amount of memory now: {@link Balloon.actual}, in bytes. Of many changes in a row only the last one may be told. */
  change: [number]
}

/** What a balloon needs of its machine. */
interface Owner {
  readonly native: BindingMachine
  /** Whether option `balloon` asked for one. */
  readonly present: boolean
  /** Bytes of RAM. */
  readonly memory: number
  /** Throws when the machine has ended. */
  readonly check: (operation: string) => void
  /** What a listener threw. */
  readonly thrown: (error: unknown) => void
}

/**
 * Takes memory from a running guest and gives it back, with option `balloon`: the guest keeps pages free, and the host has them meanwhile.
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
   * The bytes that the guest has: all of the machine's memory but for the balloon, as the guest says.
   *
   * @throws {@linkcode MachineConfigError} when the machine has no balloon; {@linkcode MachineStateError} when it has ended.
   */
  get actual(): number {
    return this.#actual(this.#native('balloon.actual'))
  }

  /**
   * Asks the guest to have this much memory, as QMP's `balloon`. It gives or takes pages when it runs and can: event `change` tells what it has come to. The wish
   * stays over resets.
   *
   * @param size Bytes, or a text such as `'512M'`: from 4096 to the machine's memory. It comes in pages of 4 KiB; what is more counts as one.
   * @throws {@linkcode MachineConfigError} when the machine has no balloon; {@linkcode MachineStateError} when it has ended.
   * @throws RangeError for another size.
   */
  resize(size: number | string): void {
    const { memory } = this.#owner
    const native = this.#native('balloon.resize')
    const bytes = typeof size === 'number' ? size : parseSize(size)
    if (typeof bytes === 'string' || !Number.isInteger(bytes) || bytes < PAGE_SIZE || bytes > memory) {
      const range = `from ${PAGE_SIZE} bytes to the machine's memory, ${formatSize(memory)}`
      throw new RangeError(`size is ${size}, and takes a number of bytes or a size such as '128M', ${range}`)
    }
    native.setBalloonTarget(Math.floor((memory - bytes) / PAGE_SIZE))
  }

  /**
   * What the guest has said of its memory last: by {@linkcode BalloonOptions.statisticsInterval}, or without one when its driver started. `null` before that.
   *
   * @throws {@linkcode MachineConfigError} when the machine has no balloon; {@linkcode MachineStateError} when it has ended.
   */
  statistics(): BalloonStatistics | null {
    const said = this.#native('balloon.statistics').balloonStatistics()
    return said && balloonStatistics(said)
  }

  /** @internal It has another size. */
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
