import { MachineStateError } from '../errors/machine-state-error.js'
import type { BindingError, BindingMachine } from '../native/binding.cjs'
import { unwrap } from '../native/native.js'
import { deferred, type Deferred } from './deferred.js'
import { ended, type RunState } from './run-state.js'

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
  constructor(ranges: readonly number[]) {
    this.#ranges = Float64Array.from(ranges)
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
 * machine.dirtyLog.start()
 * await machine.start()
 * const dirty = await machine.dirtyLog.take()
 * for (const { start, length } of dirty) console.log(`0x${start.toString(16)}: ${length} bytes`)
 * ```
 */
export class DirtyLog {
  readonly #native: BindingMachine
  readonly #state: (operation: string) => RunState
  readonly #waiting = new Map<number, Deferred<DirtyPages>>()
  #started = false
  #lastId = 0
  #totals: readonly number[] = []
  #totalsAt = 0

  /** @internal Use {@linkcode Machine.dirtyLog}. `state` throws once the machine has ended. */
  constructor(native: BindingMachine, state: (operation: string) => RunState) {
    this.#native = native
    this.#state = state
  }

  /**
   * Begins to note the pages that the guest writes, in any run state; does nothing when it has begun. A guest that is logged pays for
   * the first write to each page.
   *
   * @throws {@linkcode KvmIoctlError}: the kernel refused.
   * @throws {@linkcode MachineStateError} when the machine has ended.
   */
  start(): void {
    this.#state('dirtyLog.start')
    const error = this.#native.startDirtyLog()
    if (error) unwrap(error)
    if (!this.#started) this.#measure()
    this.#started = true
  }

  /** Ends it, and forgets what was not taken. */
  stop(): void {
    this.#state('dirtyLog.stop')
    const error = this.#native.stopDirtyLog()
    if (error) unwrap(error)
    this.#started = false
  }

  /**
   * The pages written since {@linkcode DirtyLog.start}, or since they were taken before. The guest goes on; what it writes meanwhile is in
   * this result or in the next, and no page is ever lost. After a {@linkcode Machine.reset} all pages are dirty.
   *
   * @throws {@linkcode KvmIoctlError}: the kernel refused. What was found before is in the next result.
   * @throws {@linkcode MachineStateError} before `start()`, and when the machine has ended.
   */
  async take(): Promise<DirtyPages> {
    this.#checkStarted('dirtyLog.take')
    const id = ++this.#lastId
    const result = deferred<DirtyPages>()
    this.#waiting.set(id, result)
    // The answer comes through a socket that keeps the process alive only while the machine runs.
    const waiting = setInterval(() => {}, 2 ** 31 - 1)
    try {
      if (!this.#native.takeDirtyPages(id)) this.end()
      return await result.promise
    } finally {
      clearInterval(waiting)
    }
  }

  /**
   * How fast each vCPU has written pages since the last call, or since `start()`. Only the dirty rings know which vCPU wrote: without
   * `dirty-ring-size` the list is empty.
   *
   * @throws as {@linkcode DirtyLog.take}.
   */
  rates(): readonly DirtyRate[] {
    this.#checkStarted('dirtyLog.rates')
    const [before, since] = [this.#totals, this.#totalsAt]
    this.#measure()
    const seconds = Math.max(this.#totalsAt - since, 1) / 1000
    return this.#totals.map((total, vcpu) => {
      const pages = total - (before[vcpu] ?? 0)
      return { pages, bytesPerSecond: (pages * PAGE_SIZE) / seconds }
    })
  }

  /** @internal The answer to a `take()`. */
  taken(id: number, ranges: readonly number[] | undefined, error: BindingError | undefined): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    try {
      waiting?.resolve(new DirtyPages(ranges ?? unwrap<readonly number[]>(error!)))
    } catch (reason) {
      waiting?.reject(reason)
    }
  }

  /** @internal The machine has ended: there will be no further answers. */
  end(): void {
    const error = ended('shutdown', 'dirtyLog.take')
    for (const waiting of this.#waiting.values()) waiting.reject(error)
    this.#waiting.clear()
  }

  #measure(): void {
    this.#totals = unwrap(this.#native.dirtyTotals())
    this.#totalsAt = performance.now()
  }

  #checkStarted(operation: string): void {
    const state = this.#state(operation)
    if (this.#started) return
    const message = `${operation}() is not possible: no page has been noted`
    throw new MachineStateError(message, { state, allowed: [], remedy: 'Call dirtyLog.start() before.' })
  }
}
