// The entry of a schema. It describes one option, and the option's types, check, normal form and
// texts are derived from it.

import type { Argument } from './argument.js'

/** Whether an option is required. */
export type Presence = 'required' | 'optional'

/** The parts of an entry that do not depend on the types of its values. */
export interface EntryText {
  /** The accepted values, for messages and documents: `a whole number from 1 to 255`. */
  readonly takes: string
  /** The default, for messages and documents; undefined for a required option. */
  readonly defaultText: string | undefined
  /**
   * QEMU's spelling: an option (`-no-reboot`), a property of an option (`-machine pit`), or a
   * property of the enclosing device.
   */
  readonly cli: string | undefined
  /** How the command line writes the value. */
  readonly argument: Argument<unknown> | undefined
  /**
   * The name of the public interface and its members, if the option is an object or contains
   * objects.
   */
  readonly nested: Nested | undefined
}

/** A public interface of options. */
export interface Nested {
  readonly name: string
  readonly members: Entries
}

/**
 * An option.
 *
 * @typeParam Input The value as a caller gives it.
 * @typeParam Normal The checked value with all defaults, which the addon gets.
 */
export interface Entry<Input, Normal, P extends Presence = Presence> extends EntryText {
  readonly presence: P
  /** Checks a value. `path` names the option in the error: `disks[0].readOnly`. */
  readonly read: (value: unknown, path: string) => Normal
  /** Returns the normal form of an absent option. */
  readonly absent: (path: string) => Normal
  /** Returns the value whose normal form this is; undefined for an absent option. */
  readonly write: (normal: Normal) => Input | undefined
}

/** An entry of any type. */
export interface AnyEntry extends EntryText {
  readonly presence: Presence
  readonly read: (value: unknown, path: string) => unknown
  readonly absent: (path: string) => unknown
  readonly write: (normal: never) => unknown
}

/** The members of an object of options. The TSDoc comment of a member describes its option. */
export type Entries = Readonly<Record<string, AnyEntry>>

type InputOf<E> = E extends Entry<infer Input, infer _> ? Input : never

type RequiredKeys<E extends Entries> = {
  [K in keyof E]: E[K]['presence'] extends 'required' ? K : never
}[keyof E]

// Both types map a type parameter `K extends keyof E`. For other mapped types the checker loses the
// comments of the entries.
type RequiredMembers<E extends Entries, K extends keyof E> = { readonly [P in K]: InputOf<E[P]> }
// An option that is undefined is absent, also under `exactOptionalPropertyTypes`.
type OptionalMembers<E extends Entries, K extends keyof E> = { readonly [P in K]?: InputOf<E[P]> | undefined }

/** The public type of options. The comments of the entries are the comments of its members. */
export type OptionsOf<E extends Entries> = RequiredMembers<E, RequiredKeys<E>> &
  OptionalMembers<E, Exclude<keyof E, RequiredKeys<E>>>

/** Options of which every one is given. */
export type Complete<Options> = { readonly [K in keyof Options]-?: Exclude<Options[K], undefined> }

/** The normal form of options: every member is set. */
export type NormalOf<E extends Entries> = {
  readonly [K in keyof E]: E[K] extends Entry<infer _, infer Normal> ? Normal : never
}

/** The parameters of every builder of entries. */
export interface Spec<D> {
  /**
   * The value of an absent option. `null`: the normal form is null. Without a default, the option
   * is required.
   */
  readonly default?: D
  /** Describes the default if its value does not. */
  readonly defaultText?: string
  readonly cli?: string
}

/** The type of the entry that a builder returns for the default `D`. */
export type EntryOf<Input, Normal, D> = [D] extends [undefined]
  ? Entry<Input, Normal, 'required'>
  : Entry<Input, [D] extends [null] ? Normal | null : Normal, 'optional'>

/** A kind of values. */
export interface Kind<Input, Normal> {
  readonly takes: string
  readonly argument?: Argument<Input>
  readonly nested?: Nested
  /**
   * Returns undefined for a value of another kind. Throws for a value that needs a separate
   * message.
   */
  readonly read: (value: unknown, path: string) => Normal | undefined
  readonly write: (normal: Normal) => Input
}
