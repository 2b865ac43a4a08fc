// The errors of options. Every message about a value is built here from the value's entry.

import { MachineConfigError } from '../errors/options/machine-config-error.js'
import { didYouMean } from '../errors/suggest.js'
import type { EntryText } from './entry.js'

/** Creates the error for a value that an option does not accept. */
export function invalidValue(
  path: string,
  value: unknown,
  { takes, defaultText }: Pick<EntryText, 'takes' | 'defaultText'>,
): MachineConfigError {
  return invalid(
    path,
    `invalid value ${describe(value)} for machine option '${path}': expected ${takes}`,
    defaultText === undefined
      ? `'${path}' is described in docs/reference/machine-options.md.`
      : `Omit '${path}' for its default: ${defaultText}.`,
  )
}

/** Creates the error for options that contradict each other. */
export function conflict(path: string, problem: string, remedy: string): MachineConfigError {
  return invalid(path, `invalid machine option '${path}': ${problem}`, remedy)
}

/** Creates the error for an unknown member of an object of options. */
export function unknownMember(path: string, key: string, keys: readonly string[]): MachineConfigError {
  const name = path === '' ? key : `${path}.${key}`
  const meant = didYouMean(key, keys)
  return invalid(
    name,
    `unknown machine option '${name}'${meant === '' ? '' : `.${meant}`}`,
    `The options ${path === '' ? '' : `of '${path}' `}are ${keys.join(', ')}.`,
  )
}

/** Creates the error for a required option that is absent. */
export function missing(path: string, { takes }: Pick<EntryText, 'takes'>): MachineConfigError {
  return invalid(path, `machine option '${path}' is missing: expected ${takes}`, `Give '${path}'.`)
}

function invalid(path: string, message: string, remedy: string): MachineConfigError {
  return new MachineConfigError(message, { option: /^[^.[]*/.exec(path)?.[0] ?? '', remedy })
}

function describe(value: unknown): string {
  if (typeof value === 'string') return `'${value.replaceAll('\0', '\\0')}'`
  if (typeof value === 'function') return 'a function'
  if (value instanceof URL) return `'${value.href}'`
  if (value === null || typeof value !== 'object') return String(value)
  return Array.isArray(value) ? 'a list' : 'an object'
}
