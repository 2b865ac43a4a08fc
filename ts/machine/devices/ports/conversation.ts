// Reads a port's output as text: until a pattern, and line by line.

import { setImmediate as nextTurn } from 'node:timers/promises'
import { ExpectError } from '../../../errors/operation/expect-error.js'
import { checkWhole, invalidArgument } from '../../../errors/operation/argument-error.js'
import { decode, offsetOf } from './decode.js'
import type { Duplex } from 'node:stream'

/** The bytes in which a pattern is searched, and the longest line: 64 KiB. */
const WINDOW = 1 << 16

/** The default time limit of `expect()`, in ms. */
const PATIENCE = 60_000

/** The longest time limit, in ms: that of a timer of Node.js. */
const LONGEST = 2 ** 31 - 1

/** Options of `expect()`. */
export interface ExpectOptions {
  /**
   * Milliseconds, 1 to 2147483647.
   *
   * @default 60000
   */
  readonly timeout?: number | undefined
  /** Ends the wait. The promise rejects with its reason. */
  readonly signal?: AbortSignal | undefined
}

/** Output that matched a pattern. */
export interface Expected {
  /** The output before the match: at most the last 64 KiB. */
  readonly before: string
  /** The output that matched. */
  readonly match: string
  /** The groups of a regular expression; undefined for a group that did not take part. */
  readonly groups: readonly (string | undefined)[]
}

/** A part of the output: its length in bytes, and its value. */
interface Found<T> {
  readonly end: number
  readonly value: T
}

type Find<T> = (bytes: Buffer) => Found<T> | undefined

/** The output of one port as text. Several calls of `expect()` wait for each other. */
export class Conversation {
  readonly #port: Duplex
  #last: Promise<unknown> = Promise.resolve()

  constructor(port: Duplex) {
    this.#port = port
  }

  /** Waits for a pattern. Later output stays in the port. */
  async expect(pattern: string | RegExp, { timeout = PATIENCE, signal }: ExpectOptions = {}): Promise<Expected> {
    const find = finder(pattern)
    checkWhole('timeout', timeout, 1, LONGEST, 'milliseconds')
    return this.#inOrder(() => this.#read(find, String(pattern), { timeout, signal }))
  }

  /** Reads lines without their ends, until the output ends. */
  async *lines(): AsyncGenerator<string, undefined> {
    for (;;) {
      const line = await this.#inOrder(() => this.#read(findLine, 'a line', {}, lastLine))
      if (line === undefined) return
      yield line
    }
  }

  #inOrder<T>(read: () => Promise<T>): Promise<T> {
    const result = this.#last.then(read)
    this.#last = result.catch(() => {})
    return result
  }

  /**
   * Reads until `find` returns a part. `atEnd` makes the result from the bytes that are left when
   * the output ends; without it that is an error. Bytes after the part, and all bytes after an
   * error, stay in the port.
   */
  async #read<T>(find: Find<T>, what: string, limits: ExpectOptions, atEnd?: (rest: Buffer) => T): Promise<T> {
    const port = this.#port
    const failed = (problem: ExpectError['problem'], why: string, remedy: string) =>
      new ExpectError(`${what} did not arrive: ${why}${tail(bytes)}`, { problem, remedy, output: decode(bytes) })
    let bytes: Buffer = Buffer.alloc(0)
    if (port.readableFlowing) {
      const remedy = "Use target 'stream', and read the port only by expect() and lines()."
      throw failed('busy', 'a pipe or a listener reads the port already', remedy)
    }
    using changes = new Changes(port, limits)
    for (let searched = 0; ;) {
      const chunk = port.read() as Buffer | string | null
      if (chunk !== null) {
        bytes = Buffer.concat([bytes, typeof chunk === 'string' ? Buffer.from(chunk) : chunk])
        const found = find(bytes)
        if (found) {
          if (found.end < bytes.length) port.unshift(bytes.subarray(found.end))
          return found.value
        }
        bytes = bytes.subarray(Math.max(0, bytes.length - WINDOW))
        searched += bytes.length
        // Yields to the rest of the program, in case the guest writes without end.
        if (searched < WINDOW) continue
        searched = 0
        await nextTurn()
      } else if (port.readableEnded || port.destroyed) {
        if (atEnd) return atEnd(bytes)
        throw failed('ended', 'the output has ended', "Check the exit of the machine, and that the target is 'stream'.")
      } else await changes.next()
      if (!changes.over) continue
      if (bytes.length > 0 && !port.readableEnded) port.unshift(bytes)
      limits.signal?.throwIfAborted()
      throw failed(
        'timeout',
        `no match within ${limits.timeout} ms`,
        'Compare the pattern with `output`, or wait longer.',
      )
    }
  }
}

/** Waits for changes of a port, with a time limit and a signal. */
class Changes {
  readonly #port: Duplex
  readonly #signal: AbortSignal | undefined
  readonly #timer: NodeJS.Timeout | undefined
  /** The time limit has passed, or the signal is aborted. */
  over: boolean
  #changed = false
  #wake: () => void = () => {}

  constructor(port: Duplex, { timeout, signal }: ExpectOptions) {
    this.#port = port
    this.#signal = signal
    this.over = signal?.aborted ?? false
    if (timeout !== undefined) this.#timer = setTimeout(this.#end, timeout)
    signal?.addEventListener('abort', this.#end)
    for (const event of ['readable', 'end', 'close', 'error']) port.on(event, this.#change)
  }

  /** Resolves after a change since the last call, or when the wait is over. */
  async next(): Promise<void> {
    if (!this.#changed && !this.over) await new Promise<void>(resolve => (this.#wake = resolve))
    this.#changed = false
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    this.#signal?.removeEventListener('abort', this.#end)
    for (const event of ['readable', 'end', 'close', 'error']) this.#port.off(event, this.#change)
  }

  #change = (): void => {
    this.#changed = true
    this.#wake()
  }

  #end = (): void => {
    this.over = true
    this.#wake()
  }
}

function finder(pattern: string | RegExp): Find<Expected> {
  if (typeof pattern === 'string' && pattern !== '') {
    const wanted = Buffer.from(pattern)
    return bytes => {
      const at = bytes.indexOf(wanted)
      if (at < 0) return undefined
      return {
        end: at + wanted.length,
        value: { before: decode(bytes.subarray(0, at)).slice(-WINDOW), match: pattern, groups: [] },
      }
    }
  }
  if (!(pattern instanceof RegExp)) throw invalidArgument('pattern', pattern, 'a text or a regular expression')
  // `lastIndex` of the caller's expression is unchanged.
  const regex = new RegExp(pattern.source, pattern.flags.replaceAll(/[gy]/g, ''))
  return bytes => {
    const text = decode(bytes)
    const found = regex.exec(text)
    if (!found) return undefined
    const [match, ...groups] = found
    const end = offsetOf(bytes, found.index + match.length)
    return { end, value: { before: text.slice(0, found.index).slice(-WINDOW), match, groups } }
  }
}

/** A line longer than the window comes in pieces. */
const findLine: Find<string | undefined> = bytes => {
  const at = bytes.subarray(0, WINDOW).indexOf('\n')
  if (at >= 0) return { end: at + 1, value: decode(bytes.subarray(0, at)).replace(/\r$/, '') }
  return bytes.length < WINDOW ? undefined : { end: WINDOW, value: decode(bytes.subarray(0, WINDOW)) }
}

const lastLine = (rest: Buffer): string | undefined => (rest.length === 0 ? undefined : decode(rest))

/** The last line of the output, for a message. */
function tail(bytes: Buffer): string {
  const last = decode(bytes).trimEnd().split('\n').at(-1)?.slice(-80)
  return last ? `; the last output is ${JSON.stringify(last)}` : ''
}
