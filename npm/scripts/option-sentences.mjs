// `node --import tsx option-sentences.mjs` writes the module with which the command line describes
// options at run time: the first sentence of the comment of each option.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { captureMembers } from '../../ts/machine/config/capture.ts'
import { machineMembers } from '../../ts/machine/config/machine-options.ts'
import { optionTexts } from './option-texts.mjs'
import { root } from './steps.mjs'

const FILE = join(root, 'ts/cli/parameters/option-sentences.ts')

const nestedIn = (name, members) => [
  [name, members],
  ...Object.values(members).flatMap(({ nested }) => (nested ? nestedIn(nested.name, nested.members) : [])),
]

/** Returns the public interfaces of options with their members. */
export const optionInterfaces = () => [
  ...nestedIn('MachineOptions', machineMembers),
  ...nestedIn('CaptureOptions', captureMembers),
]

/** Returns the text up to the first full stop that ends a sentence. */
export const firstSentence = text => /^[^]*?\.(?=\s|$)/.exec(text)?.[0] ?? text

/** Returns the source of the module. */
const moduleOf = texts => {
  const lines = optionInterfaces().flatMap(([name, members]) =>
    Object.keys(members).map(key => [`${name}.${key}`, firstSentence(texts[name]?.[key]?.about ?? '')]),
  )
  const entries = [...new Map(lines)].map(([key, text]) => `  '${key}': ${JSON.stringify(text)},\n`)
  return `// Written by npm/scripts/option-sentences.mjs from the comments of the entries. Not in git.

/** The first sentence of each option's comment. */
export const optionSentences = {
${entries.join('')}}
`
}

if (process.argv[1] === import.meta.filename) {
  const source = moduleOf(optionTexts())
  let old
  try {
    old = readFileSync(FILE, 'utf8')
  } catch {
    // The first build.
  }
  if (source !== old) writeFileSync(FILE, source)
}
