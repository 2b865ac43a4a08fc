// Entries of single values.

import { fileURLToPath } from 'node:url'
import { either } from '../errors/suggest.js'
import * as argument from './argument.js'
import type { Argument } from './argument.js'
import { build } from './build.js'
import type { EntryOf, Spec } from './entry.js'
import { conflict } from './invalid.js'

const same = <T>(value: T): T => value

/** A boolean. */
export function boolean<const D extends boolean | null | undefined = undefined>(
  spec: Spec<D> & { readonly argument?: Argument<boolean> } = {},
): EntryOf<boolean, boolean, D> {
  const read = (value: unknown) => (typeof value === 'boolean' ? value : undefined)
  const kind = { takes: 'a boolean', argument: spec.argument ?? argument.onOff, read, write: same<boolean> }
  return build<boolean, boolean, D>(kind, spec)
}

/** A whole number. */
export function integer<const D extends number | null | undefined = undefined>(
  spec: Spec<D> & {
    readonly min: number
    readonly max: number
    /** The unit that is counted, for messages. */
    readonly unit?: string
    readonly argument?: Argument<number>
  },
): EntryOf<number, number, D> {
  const { min, max, unit } = spec
  const takes = `a whole number ${unit === undefined ? '' : `of ${unit} `}from ${formatNumber(min)} to ${formatNumber(max)}`
  const read = (value: unknown) =>
    typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max ? value : undefined
  return build<number, number, D>(
    { takes, argument: spec.argument ?? argument.number(min, max), read, write: same },
    spec,
  )
}

/** One of several words. */
export function choice<const W extends string, const D extends NoInfer<W> | null | undefined = undefined>(
  words: readonly W[],
  spec: Spec<D> = {},
): EntryOf<W, W, D> {
  const takes = either(words.map(word => `'${word}'`))
  const read = (value: unknown) => words.find(word => word === value)
  return build<W, W, D>({ takes, argument: argument.oneOf(...words), read, write: same }, spec)
}

/** A text. NUL is refused, because it would end the text early in C and in guest memory. */
export function text<const D extends string | null | undefined = undefined>(
  spec: Spec<D> & {
    /** Requires at least one character. */
    readonly nonEmpty?: true
    readonly maxBytes?: number
    /** Requires that the whole text matches. `takes` describes the pattern. */
    readonly pattern?: { readonly regex: RegExp; readonly takes: string }
    readonly argument?: Argument<string>
  } = {},
): EntryOf<string, string, D> {
  const { nonEmpty = false, maxBytes, pattern } = spec
  const limit = maxBytes === undefined ? '' : ` of at most ${maxBytes} bytes`
  const takes = pattern?.takes ?? `a ${nonEmpty ? 'non-empty ' : ''}text${limit} without NUL`
  const read = (value: unknown) => {
    if (typeof value !== 'string' || value.includes('\0') || (nonEmpty && value === '')) return undefined
    if (maxBytes !== undefined && Buffer.byteLength(value) > maxBytes) return undefined
    return pattern === undefined || pattern.regex.test(value) ? value : undefined
  }
  return build<string, string, D>({ takes, argument: spec.argument ?? argument.text('TEXT'), read, write: same }, spec)
}

/** The path of a file, a device or a socket. A file: URL becomes its path. */
export function path<const D extends string | null | undefined = undefined>(
  spec: Spec<D> = {},
): EntryOf<string | URL, string, D> {
  return build<string | URL, string, D>(
    { takes: 'a path or a file: URL', argument: argument.text('PATH'), read: toPath, write: same },
    spec,
  )
}

/** The maximum length of a Unix socket's path, in bytes. An address has 108 bytes and ends with a NUL. */
const LONGEST_SOCKET_PATH = 107

/**
 * The path of a Unix socket. A file: URL becomes its path. A path that is too long is an error, because
 * Node.js 20 would truncate it.
 *
 * @param spec.suffix The number of bytes that are appended to the path.
 */
export function socketPath<const D extends string | null | undefined = undefined>(
  spec: Spec<D> & { readonly suffix?: number } = {},
): EntryOf<string | URL, string, D> {
  const longest = LONGEST_SOCKET_PATH - (spec.suffix ?? 0)
  const read = (value: unknown, at: string) => {
    const found = toPath(value)
    const length = Buffer.byteLength(found ?? '')
    if (length <= longest) return found
    const problem = `the path '${found}' is too long for a socket: expected at most ${longest} bytes, got ${length}`
    throw conflict(at, problem, 'Use a shorter path, for example a relative one.')
  }
  const takes = `a path or a file: URL of at most ${longest} bytes`
  return build<string | URL, string, D>({ takes, argument: argument.text('PATH'), read, write: same }, spec)
}

/** A file: its path, its file: URL, or its bytes. */
export function file<const D extends null | undefined = undefined>(
  spec: Spec<D> = {},
): EntryOf<string | URL | Uint8Array, string | Uint8Array, D> {
  const takes = 'the path of a file, a file: URL, or its bytes as a Uint8Array'
  const read = (value: unknown) => (value instanceof Uint8Array ? value : toPath(value))
  return build<string | URL | Uint8Array, string | Uint8Array, D>({ takes, read, write: same }, spec)
}

/** Returns a path; undefined for a value that names no file of this host. */
function toPath(value: unknown): string | undefined {
  let path = value
  try {
    if (value instanceof URL) path = fileURLToPath(value)
  } catch {
    // Another scheme, or a file of another host.
    return undefined
  }
  return typeof path === 'string' && path !== '' && !path.includes('\0') ? path : undefined
}

/** Large numbers as powers. */
function formatNumber(value: number): string {
  if (value === Number.MAX_SAFE_INTEGER) return '2^53 - 1'
  return value === 1e15 ? '10^15' : String(value)
}
