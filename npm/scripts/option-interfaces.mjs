// Writes the members of the interfaces of options into the emitted declarations.
//
// In the sources, `interface DiskOptions extends OptionsOf<typeof members> {}` has the members and comments of its entries. TypeScript 7's
// language server shows no comment for the members of a mapped type, so the declarations that users see declare each member with its comment.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const INTERFACE = /(export interface [^{]*OptionsOf<typeof (\w+)>[^{]*)\{\n\}/g

/**
 * One member of a table of entries, as the compiler emits it: its comment, its name and its type.
 */
const MEMBER = /^ {4}(\/\*\*[^]*?\*\/)\n {4}(\w+): ([^]*?);\n(?= {4}\S|$)/gm

/** Returns the declarations of one file with the members of its interfaces written out. */
export const withMembers = source =>
  source.replaceAll(INTERFACE, (_, head, table) => {
    const [, entries = ''] = new RegExp(`declare const ${table}: \\{\\n([^]*?)^\\};`, 'm').exec(source) ?? []
    const members = [...entries.matchAll(MEMBER)].map(([, comment, key, type]) => {
      const optional = type.endsWith('"optional">') ? '?' : ''
      return `    ${comment}\n    readonly ${key}${optional}: Required<OptionsOf<typeof ${table}>>['${key}'];\n`
    })
    return `${head}{\n${members.join('')}}`
  })

/** Rewrites all declarations below a folder. */
export const writeInterfaces = folder => {
  const files = readdirSync(folder, { recursive: true }).filter(name => name.endsWith('.d.ts'))
  for (const name of files) {
    const file = join(folder, name)
    writeFileSync(file, withMembers(readFileSync(file, 'utf8')))
  }
}
