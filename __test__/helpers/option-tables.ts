// The tables of options in docs/, from the schema and its TSDoc comments.

import { optionInterfaces } from '../../npm/scripts/option-sentences.mjs'
import { optionTexts } from '../../npm/scripts/option-texts.mjs'
import type { Entries } from '../../ts/schema/entry.js'

/** The comment of an option, and its `@default`. */
export interface OptionText {
  readonly about: string
  readonly default: string | undefined
}

/** The texts by public interface and member. */
export const texts = optionTexts() as Readonly<Record<string, Readonly<Record<string, OptionText>>>>

/** The public interfaces of options and their members. */
export const interfaces: ReadonlyMap<string, Entries> = new Map(
  optionInterfaces() as readonly (readonly [string, Entries])[],
)

const code = (text: string) => (text.includes('`') ? text : `\`${text}\``)

/** Returns the rows of the table of one interface's options. */
export function optionRows(name: string): string[][] {
  const rows = Object.entries(interfaces.get(name) ?? {}).map(
    ([key, { takes, nested, defaultText, cli, argument }]) => [
      code(key),
      nested === undefined ? takes : takes.replace(/an object with .*$/, code(nested.name)),
      defaultText === undefined ? 'required' : defaultText,
      cli === undefined
        ? ''
        : code(/^[\w-]+$/.test(cli) && !cli.startsWith('-') && argument ? `${cli}=${argument.takes}` : cli),
      texts[name]?.[key]?.about ?? '',
    ],
  )
  return [['option', 'values', 'default', 'QEMU', 'what it does'], ...rows]
}
