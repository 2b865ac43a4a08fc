// Each option is described once. Editors, the emitted declarations and docs/ show this description.

import test from 'ava'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { firstSentence } from '../../npm/scripts/option-sentences.mjs'
import { readArgv } from '../../ts/cli/argv/read-argv.js'
import { optionSentences } from '../../ts/cli/parameters/option-sentences.js'
import { hover } from '../helpers/hover.js'
import { interfaces, texts } from '../helpers/option-tables.js'
import { root } from '../helpers/paths.js'

const options = [...interfaces].flatMap(([name, members]) =>
  Object.entries(members).map(([key, entry]) => [name, key, entry] as const),
)

test('every option has a sentence', t => {
  t.true(options.length > 80)
  for (const [name, key] of options) t.regex(texts[name]?.[key]?.about ?? '', /^.{5,}[.:]/s, `${name}.${key}`)
})

test('@default of every option is its default', t => {
  for (const [name, key, { defaultText }] of options) t.is(texts[name]?.[key]?.default, defaultText, `${name}.${key}`)
})

test('the comment of every option with a range states the range', t => {
  for (const [name, key, { takes }] of options) {
    const [, min, max] = /^a whole number .*from (\d+) to (\d+)$/.exec(takes) ?? []
    if (max !== undefined) t.true(texts[name]?.[key]?.about.includes(`${min} to ${max}`), `${name}.${key}: ${takes}`)
  }
})

test('every option is in a table of docs/reference/machine-options.md', t => {
  const page = readFileSync(join(root, 'docs/reference/machine-options.md'), 'utf8')
  for (const [name, key] of options) {
    const [, section = ''] = new RegExp(`<!-- ${name}:.*-->\n([^]*?)<!-- /${name} -->`).exec(page) ?? []
    t.true(section.includes(`\n| \`${key}\` |`), `${name}.${key}`)
  }
})

test('the emitted declarations have the comment of every option', t => {
  const folders = ['dist/machine/config', 'dist/properties'].map(folder => join(root, folder))
  const declarations = folders
    .flatMap(folder => {
      const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.d.ts'))
      return names.map(name => readFileSync(join(folder, name), 'utf8'))
    })
    .join('')
  for (const [name, key] of options) {
    t.regex(declarations, new RegExp(`\\*/\n {4}readonly ${key}\\??: Required<`), `${name}.${key}`)
  }
})

test('an editor shows the comment of an option of Machine.create, nested ones included', async t => {
  const source = `import { Machine } from 'kvm-accel'
await Machine.create({ kernel: 'k', pvpanic: true, disks: [{ path: 'd', readOnly: true }], accel: { notifyVmexit: 'run' } })
`
  const [pvpanic = '', readOnly = '', vmexit = ''] = await hover(source, ['pvpanic', 'readOnly', 'notifyVmexit'])
  t.regex(pvpanic, /pvpanic\?: boolean/)
  t.true(pvpanic.includes(texts['MachineOptions']?.['pvpanic']?.about.slice(0, 60) ?? '?'), pvpanic)
  t.regex(readOnly, /readOnly\?: boolean/)
  t.true(readOnly.includes(texts['DiskOptions']?.['readOnly']?.about ?? '?'), readOnly)
  t.regex(vmexit, /notifyVmexit\?: /)
  t.true(vmexit.includes(texts['AccelOptions']?.['notifyVmexit']?.about.slice(0, 60) ?? '?'), vmexit)
})

test('help at run time has the first sentence of every comment', t => {
  for (const [name, key] of options) {
    const sentence = (optionSentences as Readonly<Record<string, string>>)[`${name}.${key}`]
    t.is(sentence, firstSentence(texts[name]?.[key]?.about ?? ''), `${name}.${key}`)
  }
})

test('help describes an option in the words of its comment', t => {
  const help = String(readArgv(['-help'])).replaceAll(/\s+/g, ' ')
  for (const [option, name, key] of [
    ['-no-reboot', 'MachineOptions', 'noReboot'],
    ['-mem-prealloc', 'MemoryOptions', 'prealloc'],
    ['notify-budget=N/T|unlimited', 'AccelOptions', 'notifyBudget'],
  ] as const) {
    const about = firstSentence(texts[name]?.[key]?.about ?? '').replaceAll('`', '')
    t.true(help.includes(`${option} ${about}`), `${option}: ${about}`)
  }
})
