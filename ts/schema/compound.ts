// Entries of values that contain other entries.

import { build } from './build.js'
import type { AnyEntry, Entries, Entry, NormalOf, OptionsOf, Spec } from './entry.js'
import { invalidValue, missing, unknownMember } from './invalid.js'

/** Checks an object of options and fills in the defaults of absent options. */
export function readMembers<E extends Entries>(members: E, value: object, path: string): NormalOf<E> {
  const given = value as Readonly<Record<string, unknown>>
  for (const key of Object.keys(given)) {
    if (!Object.hasOwn(members, key)) throw unknownMember(path, key, Object.keys(members))
  }
  // A plain loop. Machine.create() runs this before V8 optimises it.
  const normal: Record<string, unknown> = {}
  for (const key in members) {
    const entry: AnyEntry = members[key]!
    normal[key] = readMember(entry, given[key], path === '' ? key : `${path}.${key}`)
  }
  return normal as NormalOf<E>
}

function readMember(entry: AnyEntry, value: unknown, path: string): unknown {
  if (value !== undefined) return entry.read(value, path)
  if (entry.presence === 'required') throw missing(path, entry)
  return entry.absent(path)
}

/**
 * Returns the options whose normal form this is. Leaves out absent options whose default is no
 * value.
 */
export function writeMembers<E extends Entries>(members: E, normal: NormalOf<E>): OptionsOf<E> {
  const values = normal as Readonly<Record<string, never>>
  const written = Object.entries(members).map(([key, entry]) => [key, entry.write(values[key] as never)] as const)
  return Object.fromEntries(written.filter(([, value]) => value !== undefined)) as OptionsOf<E>
}

/**
 * The conversion between the normal forms of an object's members and the normal form of the object.
 */
export interface Rules<E extends Entries, Normal> {
  /** Checks the members against each other, and returns the object's normal form. */
  readonly finish: (members: NormalOf<E>, path: string) => Normal
  /** Inverts `finish`. */
  readonly restore: (normal: Normal) => NormalOf<E>
}

/**
 * A required object.
 *
 * @param name The name of its public interface, which declares these members.
 */
export function object<E extends Entries, Normal = NormalOf<E>>(
  name: string,
  members: E,
  ...[rules]: NormalOf<E> extends Normal ? [rules?: Rules<E, Normal>] : [rules: Rules<E, Normal>]
): Entry<OptionsOf<E>, Normal, 'required'> {
  const takes = `an object with ${Object.keys(members).join(', ')}`
  return build<OptionsOf<E>, Normal, undefined>(
    {
      takes,
      nested: { name, members },
      read: (value, path) => {
        if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
        const normal = readMembers(members, value, path)
        return rules === undefined ? (normal as Normal) : rules.finish(normal, path)
      },
      write: normal => writeMembers(members, rules === undefined ? (normal as NormalOf<E>) : rules.restore(normal)),
    },
    {},
  )
}

/** An optional entry. The normal form of an absent option is null. */
export function optional<Input, Normal>(
  entry: Entry<Input, Normal, 'required'>,
  spec: Omit<Spec<null>, 'default'> = {},
): Entry<Input, Normal | null, 'optional'> {
  return build<Input, Normal, null>(kindOf(entry), { default: null, ...spec })
}

/** An entry with a default. */
export function withDefault<Input, Normal>(
  entry: Entry<Input, Normal, 'required'>,
  spec: Omit<Spec<Input>, 'default'> & { readonly default: Input },
): Entry<Input, Normal, 'optional'> {
  return build<Input, Normal, Input & {}>(kindOf(entry), spec as Spec<Input & {}>) as unknown as Entry<
    Input,
    Normal,
    'optional'
  >
}

/**
 * A device option. `true` adds the device with its defaults, and an object adds it with properties.
 */
export function device<Input extends object, Normal>(
  entry: Entry<Input, Normal, 'required'>,
  spec: Omit<Spec<boolean>, 'default'> = {},
): Entry<boolean | Input, Normal | null, 'optional'> {
  const takes = `a boolean, or ${entry.takes}`
  const read = (value: unknown, path: string) => {
    if (value === false) return null
    if (value !== true && typeof value !== 'object') throw invalidValue(path, value, { takes, defaultText: 'false' })
    return entry.read(value === true ? {} : value, path)
  }
  const write = (normal: Normal | null) => (normal === null ? false : (entry.write(normal) ?? true))
  return build<boolean | Input, Normal | null, false>(
    { takes, ...(entry.nested && { nested: entry.nested }), read, write },
    { default: false, ...spec },
  )
}

/** The conversion between the normal forms of a list's elements and the normal form of the list. */
export interface ListRules<Normal, Final> {
  /** Checks the elements against each other, and returns the list's normal form. */
  readonly finish: (elements: readonly Normal[], path: string) => readonly Final[]
  /** Inverts `finish`. */
  readonly restore: (elements: readonly Final[]) => readonly Normal[]
}

/** A list. It is empty by default. */
export function list<Input, Normal, Final = Normal>(
  entry: Entry<Input, Normal, 'required'>,
  spec: Omit<Spec<never>, 'default'> & { readonly max?: number; readonly rules?: ListRules<Normal, Final> } = {},
): Entry<readonly Input[], readonly Final[], 'optional'> {
  const { max, rules, ...rest } = spec
  const takes = `a list of ${max === undefined ? '' : `at most ${max} `}elements, each ${entry.takes}`
  const read = (value: unknown, path: string): readonly Final[] | undefined => {
    if (!Array.isArray(value) || (max !== undefined && value.length > max)) return undefined
    const elements = value.map((element: unknown, index) => entry.read(element, `${path}[${index}]`))
    return rules === undefined ? (elements as unknown as readonly Final[]) : rules.finish(elements, path)
  }
  const write = (normal: readonly Final[]) => {
    const elements = rules === undefined ? (normal as unknown as readonly Normal[]) : rules.restore(normal)
    return elements.flatMap(element => entry.write(element) ?? [])
  }
  return build<readonly Input[], readonly Final[], readonly []>(
    { takes, ...(entry.nested && { nested: entry.nested }), read, write },
    { default: [], ...rest },
  ) as unknown as Entry<readonly Input[], readonly Final[], 'optional'>
}

function kindOf<Input, Normal>({ takes, argument, nested, read, write }: Entry<Input, Normal, 'required'>) {
  return {
    takes,
    ...(argument && { argument: argument as never }),
    ...(nested && { nested }),
    read,
    write: (normal: Normal) => write(normal) as Input,
  }
}
