import { MachineStateError } from '../../errors/operation/machine-state-error.js'
import type { Control } from '../lifecycle/control.js'
import type { RunState } from '../../errors/operation/run-state.js'

/** A range of consecutive pages. */
export interface DirtyRange {
  /** The first guest physical address, a multiple of 4096. */
  readonly start: number
  /** Bytes, a multiple of 4096. */
  readonly length: number
}

const PAGE_SIZE = 4096

/**
 * The pages that a guest has written, as ranges in the order of their addresses. Ranges do not
 * touch each other.
 */
export class DirtyPages implements Iterable<DirtyRange> {
  /** The number of pages of 4096 bytes. */
  readonly pages: number
  readonly #ranges: Float64Array

  /** @internal `ranges` alternates between starts and lengths, in bytes. */
  constructor(ranges: Float64Array) {
    this.#ranges = ranges
    this.pages = this.#ranges.reduce((bytes, value, index) => (index % 2 === 1 ? bytes + value : bytes), 0) / PAGE_SIZE
  }

  *[Symbol.iterator](): IterableIterator<DirtyRange> {
    for (let at = 0; at < this.#ranges.length; at += 2) {
      yield { start: this.#ranges[at] ?? 0, length: this.#ranges[at + 1] ?? 0 }
    }
  }

  /** Returns true if the page with this guest physical address is dirty. */
  has(address: number): boolean {
    let [low, high] = [0, this.#ranges.length / 2]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#ranges[2 * middle] ?? 0) <= address) low = middle + 1
      else high = middle
    }
    const start = this.#ranges[2 * low - 2]
    return start !== undefined && address - start < (this.#ranges[2 * low - 1] ?? 0)
  }
}

/** The rate at which a vCPU writes pages. */
export interface DirtyRate {
  /**
   * Pages recorded since the last call. A page that is written again after it was taken counts
   * again.
   */
  readonly pages: number
  /** Bytes of these pages per second. */
  readonly bytesPerSecond: number
}

/**
 * Records the pages that a guest writes, by KVM's dirty bitmap, or by its dirty rings with property
 * `dirty-ring-size`.
 *
 * @example
 * ```ts
 * import { Machine, guestImage } from 'kvm-accel'
 *
 * await using machine = await Machine.create({ kernel: guestImage('dirty'), memory: '16M', append: 'wait=1' })
 * await machine.dirtyLog.start()
 * await machine.start()
 * const dirty = await machine.dirtyLog.take()
 * for (const { start, length } of dirty) console.log(`0x${start.toString(16)}: ${length} bytes`)
 * ```
 */
export class DirtyLog {
  readonly #control: Control
  readonly #state: (operation: string) => RunState
  #started = false
  #totals: readonly number[] = []
  #totalsAt = 0

  /** @internal Use {@linkcode Machine.dirtyLog}. `state` throws once the machine has ended. */
  constructor(control: Control, state: (operation: string) => RunState) {
    this.#control = control
    this.#state = state
  }

  /**
   * Starts to record the pages that the guest writes, in any run state. Does nothing if it has
   * started already. While the log is on, the guest's first write to each page is slower.
   *
   * @throws {@linkcode KvmIoctlError}: the kernel refused.
   * @throws {@linkcode MachineStateError} when the machine has ended.
   */
  start(): Promise<void> {
    return this.#control.whole(() => this.#start())
  }

  async #start(): Promise<void> {
    const before = this.#started
    this.#started = true
    const failed = () => (this.#started = before)
    const operation = 'dirtyLog.start'
    const started = this.#control.call({
      operation,
      command: { kind: 'start-dirty-log' },
      reply: 'done',
      map: () => {},
      failed,
    })
    if (before) return started
    await Promise.all([started, this.#measure(operation)])
  }

  /**
   * Stops the log, and discards pages that were not taken.
   *
   * @throws the errors of {@linkcode DirtyLog.start}.
   */
  stop(): Promise<void> {
    this.#started = false
    return this.#control.call({
      operation: 'dirtyLog.stop',
      command: { kind: 'stop-dirty-log' },
      reply: 'done',
      map: () => {},
    })
  }

  /**
   * Takes the pages written since {@linkcode DirtyLog.start} or since the last `take()`. The guest
   * continues to run. A page that it writes meanwhile is in this result or in the next; no page is
   * lost. After a {@linkcode Machine.reset} all pages are dirty.
   *
   * @throws {@linkcode KvmIoctlError}: the kernel refused. The next result has the pages that were
   * found before.
   * @throws {@linkcode MachineStateError} before `start()`, and when the machine has ended.
   */
  take(): Promise<DirtyPages> {
    const operation = 'dirtyLog.take'
    return this.#control.whole(async () => {
      this.#checkStarted(operation)
      return this.#control.call({
        operation,
        command: { kind: 'take-dirty-pages' },
        reply: 'dirty-pages',
        map: ({ ranges }) => new DirtyPages(ranges),
      })
    })
  }

  /**
   * Measures the rate at which each vCPU has written pages since the last call, or since `start()`.
   * Only the dirty rings attribute a page to a vCPU: without `dirty-ring-size` the list is empty.
   *
   * @throws the errors of {@linkcode DirtyLog.take}.
   */
  rates(): Promise<readonly DirtyRate[]> {
    return this.#control.whole(() => this.#rates())
  }

  async #rates(): Promise<readonly DirtyRate[]> {
    const operation = 'dirtyLog.rates'
    this.#checkStarted(operation)
    const { before, since } = await this.#measure(operation)
    const seconds = Math.max(this.#totalsAt - since, 1) / 1000
    return this.#totals.map((total, vcpu) => {
      const pages = total - (before[vcpu] ?? 0)
      return { pages, bytesPerSecond: (pages * PAGE_SIZE) / seconds }
    })
  }

  /** Reads the current totals. Returns the totals and the time of the last reading. */
  #measure(operation: string): Promise<{ before: readonly number[]; since: number }> {
    return this.#control.call({
      operation,
      command: { kind: 'dirty-totals' },
      reply: 'dirty-totals',
      map: ({ totals }) => {
        const [before, since] = [this.#totals, this.#totalsAt]
        this.#totals = totals
        this.#totalsAt = performance.now()
        return { before, since }
      },
    })
  }

  #checkStarted(operation: string): void {
    const state = this.#state(operation)
    if (this.#started) return
    const message = `${operation}() is not possible: no pages are recorded`
    throw new MachineStateError(message, { state, allowed: [], remedy: 'Call dirtyLog.start() before.' })
  }
}
