// Values as words of a command line.

import { parseUint32 } from './number.js'
import { parseSize, type SizeUnit } from './size.js'

/** The command-line form of a value. */
export interface Argument<T> {
  /** For messages and help: `on|off`, `SIZE`. */
  readonly takes: string
  /** Returns the value; undefined for an invalid word. */
  readonly read: (word: string) => T | undefined
}

/** QEMU's spellings of a boolean. */
export const booleans: ReadonlyMap<string, boolean> = new Map([
  ...['on', 'yes', 'true', 'y'].map(word => [word, true] as const),
  ...['off', 'no', 'false', 'n'].map(word => [word, false] as const),
])

export const onOff: Argument<boolean> = { takes: 'on|off', read: word => booleans.get(word) }

/** A text that is not empty. NUL is refused, because it would end the text early in C. */
export const text = (takes: string): Argument<string> => ({
  takes,
  read: word => (word === '' || word.includes('\0') ? undefined : word),
})

/** A whole number in decimal, octal or hexadecimal. */
export const number = (least = 0, most = 0xffff_ffff): Argument<number> => ({
  takes: most === 0xffff_ffff ? 'N' : `${least}…${most}`,
  read: word => {
    const value = parseUint32(word)
    return typeof value === 'number' && value >= least && value <= most ? value : undefined
  },
})

/** Bytes. `unit` is the unit of a number without a suffix. */
export const size = (unit: SizeUnit = 'B'): Argument<number> => ({
  takes: 'SIZE',
  read: word => {
    const bytes = parseSize(word, unit)
    return typeof bytes === 'number' ? bytes : undefined
  },
})

export const oneOf = <const T extends string>(...values: readonly T[]): Argument<T> => ({
  takes: values.join('|'),
  read: word => values.find(value => value === word),
})
