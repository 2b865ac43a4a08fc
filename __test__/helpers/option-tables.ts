// The tables of options in docs/, from the schema and its TSDoc comments.

import { optionTexts } from './option-texts.mjs'
import { captureMembers } from '../../ts/machine/config/capture.js'
import { machineMembers } from '../../ts/machine/config/machine-options.js'
import type { Entries } from '../../ts/schema/entry.js'

/** The comment of an option, and its `@default`. */
export interface OptionText {
  readonly about: string
  readonly default: string | undefined
}

/** The texts by public interface and member. */
export const texts = optionTexts() as Readonly<Record<string, Readonly<Record<string, OptionText>>>>

/** The public interfaces of options and their members. */
export const interfaces: ReadonlyMap<string, Entries> = new Map([
  ...nestedIn('MachineOptions', machineMembers),
  ...nestedIn('CaptureOptions', captureMembers),
])

function nestedIn(name: string, members: Entries): (readonly [string, Entries])[] {
  return [
    [name, members],
    ...Object.values(members).flatMap(({ nested }) => (nested ? nestedIn(nested.name, nested.members) : [])),
  ]
}

const code = (text: string) => (text.includes('`') ? text : `\`${text}\``)

/** Returns the rows of the table of one interface's options. */
export function optionRows(name: string): string[][] {
  const rows = Object.entries(interfaces.get(name) ?? {}).map(([key, { takes, nested, defaultText, cli }]) => [
    code(key),
    nested === undefined ? takes : takes.replace(/an object with .*$/, code(nested.name)),
    defaultText === undefined ? 'required' : defaultText,
    cli === undefined ? '' : code(cli),
    texts[name]?.[key]?.about ?? '',
  ])
  return [['option', 'values', 'default', 'QEMU', 'what it does'], ...rows]
}
