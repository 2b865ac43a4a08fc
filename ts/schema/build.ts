// Builds an entry from a kind of values and a default.

import { invalidValue } from './invalid.js'
import type { Entry, EntryOf, Kind, Spec } from './entry.js'

/** Creates an entry for values of this kind. */
export function build<Input, Normal, const D extends Input | null | undefined>(
  kind: Kind<Input, Normal>,
  spec: Spec<D>,
): EntryOf<Input, Normal, D> {
  const { takes, argument, nested } = kind
  const { default: otherwise, cli } = spec
  const defaultText = spec.defaultText ?? (otherwise === undefined ? undefined : show(otherwise))
  const read = (value: unknown, path: string): Normal => {
    const normal = kind.read(value, path)
    if (normal === undefined) throw invalidValue(path, value, { takes, defaultText })
    return normal
  }
  let normalDefault: Normal | undefined
  const entry: Entry<Input, Normal | null> = {
    takes,
    argument,
    nested,
    defaultText,
    cli,
    presence: otherwise === undefined ? 'required' : 'optional',
    read,
    // The default is always the same, and normal forms are never modified: one conversion is enough.
    absent: path => (otherwise === null ? null : (normalDefault ??= read(otherwise, path))),
    write: normal => (normal === null && otherwise === null ? undefined : kind.write(normal as Normal)),
  }
  // The entry's types depend on D, and the compiler cannot connect D with the value of `default`.
  return entry as unknown as EntryOf<Input, Normal, D>
}

function show(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`
  if (value === null || (Array.isArray(value) && value.length === 0)) return 'none'
  return typeof value === 'object' ? 'see its members' : String(value)
}
