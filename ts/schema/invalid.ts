// The errors of options. Every message about a value is made here from its entry.

import { MachineConfigError } from '../errors/options/machine-config-error.js'
import { didYouMean } from '../errors/suggest.js'
import type { EntryText } from './entry.js'

/** An error for a value that an option does not accept. */
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

/** An error for options that do not go together. */
export function conflict(path: string, problem: string, remedy: string): MachineConfigError {
  return invalid(path, `invalid machine option '${path}': ${problem}`, remedy)
}

/** An error for a member that an object of options does not have. */
export function unknownMember(path: string, key: string, keys: readonly string[]): MachineConfigError {
  const name = path === '' ? key : `${path}.${key}`
  const meant = didYouMean(key, keys)
  return invalid(
    name,
    `unknown machine option '${name}'${meant === '' ? '' : `.${meant}`}`,
    `The options ${path === '' ? '' : `of '${path}' `}are ${keys.join(', ')}.`,
  )
}

/** An error for a required option that was not given. */
export function missing(path: string, { takes }: Pick<EntryText, 'takes'>): MachineConfigError {
  return invalid(path, `machine option '${path}' is missing: expected ${takes}`, `Give '${path}'.`)
}

function invalid(path: string, message: string, remedy: string): MachineConfigError {
  return new MachineConfigError(message, { option: /^[^.[]*/.exec(path)?.[0] ?? '', remedy })
}

function describe(value: unknown): string {
  if (typeof value === 'string') return `'${value.replaceAll('\0', '\\0')}'`
  if (typeof value === 'function') return 'a function'
  if (value === null || typeof value !== 'object') return String(value)
  return Array.isArray(value) ? 'a list' : 'an object'
}
