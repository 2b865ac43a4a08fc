import { invalidArgument } from '../../errors/operation/argument-error.js'
/** The longest delay of a timer, in ms. */
const LONGEST = 2 ** 31 - 1

/**
 * Takes a sample at once and then every `interval` milliseconds, until the source has ended. A
 * reader that is late gets the current value and no backlog.
 */
export class Watch<T> implements AsyncIterableIterator<T, undefined, undefined> {
  readonly #sample: () => T | undefined
  readonly #interval: number
  #timer: NodeJS.Timeout | undefined
  #wake: (() => void) | undefined
  #turn: Promise<unknown> = Promise.resolve()
  #due = -Infinity
  #over = false

  /**
   * @param sample Returns the current value, or undefined when the source has ended.
   * @param ended Resolves when no further value will follow.
   * @throws {@linkcode ArgumentError} for an interval outside the range of a timer.
   */
  constructor(sample: () => T | undefined, interval: number, ended: Promise<unknown>) {
    if (!(interval >= 1 && interval <= LONGEST)) {
      throw invalidArgument('interval', interval, `1 to ${LONGEST} milliseconds`)
    }
    this.#sample = sample
    this.#interval = interval
    void ended.then(() => this.#end())
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<T, undefined>> {
    const result = this.#turn.then(() => this.#next())
    this.#turn = result.catch(() => {})
    return result
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.#end()
    return { done: true, value: undefined }
  }

  async #next(): Promise<IteratorResult<T, undefined>> {
    await this.#untilDue()
    const value = this.#over ? undefined : this.#sample()
    if (value === undefined) return this.return()
    return { done: false, value }
  }

  async #untilDue(): Promise<void> {
    const now = performance.now()
    const wait = this.#due - now
    this.#due = Math.max(this.#due, now) + this.#interval
    if (this.#over || wait <= 0) return
    await new Promise<void>(resolve => {
      this.#wake = resolve
      // The watched machine decides whether the process stays alive, not this timer.
      this.#timer = setTimeout(resolve, wait).unref()
    })
  }

  #end(): void {
    this.#over = true
    clearTimeout(this.#timer)
    this.#wake?.()
  }
}
