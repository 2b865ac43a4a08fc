import { MachineStateError } from '../../errors/operation/machine-state-error.js'
import type { Control } from '../lifecycle/control.js'
import type { RunState } from '../../errors/operation/run-state.js'

/** A run of pages. */
export interface DirtyRange {
  /** The first guest physical address, a multiple of 4096. */
  readonly start: number
  /** Bytes, a multiple of 4096. */
  readonly length: number
}

const PAGE_SIZE = 4096

/** The pages that a guest has written: runs in the order of their addresses, apart from each other. */
export class DirtyPages implements Iterable<DirtyRange> {
  /** How many pages of 4096 bytes. */
  readonly pages: number
  readonly #ranges: Float64Array

  /** @internal Starts and lengths, one after the other. */
  constructor(ranges: Float64Array) {
    this.#ranges = ranges
    this.pages = this.#ranges.reduce((bytes, value, index) => (index % 2 === 1 ? bytes + value : bytes), 0) / PAGE_SIZE
  }

  *[Symbol.iterator](): IterableIterator<DirtyRange> {
    for (let at = 0; at < this.#ranges.length; at += 2) {
      yield { start: this.#ranges[at] ?? 0, length: this.#ranges[at + 1] ?? 0 }
    }
  }

  /** Whether the page with this guest physical address is among them. */
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

/** How fast a vCPU writes pages. */
export interface DirtyRate {
  /** Pages noted since the last call; one that is written again after it was taken counts again. */
  readonly pages: number
  /** Bytes of such pages a second. */
  readonly bytesPerSecond: number
}

/**
 * Which pages of its memory a machine's guest writes: KVM's dirty bitmap, or its dirty rings with `dirty-ring-size`.
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
   * Begins to record the pages that the guest writes, in any run state; does nothing when it has begun. A guest that is logged pays for
   * the first write to each page.
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
   * Ends it, and forgets what was not taken.
   *
   * @throws as {@linkcode DirtyLog.start}.
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
   * The pages written since {@linkcode DirtyLog.start}, or since they were taken before. The guest goes on; what it writes meanwhile is in
   * this result or in the next, and no page is ever lost. After a {@linkcode Machine.reset} all pages are dirty.
   *
   * @throws {@linkcode KvmIoctlError}: the kernel refused. What was found before is in the next result.
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
   * How fast each vCPU has written pages since the last call, or since `start()`. Only the dirty rings know which vCPU wrote: without
   * `dirty-ring-size` the list is empty.
   *
   * @throws as {@linkcode DirtyLog.take}.
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

  /** Counts the pages of now; the count and the time before. */
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
