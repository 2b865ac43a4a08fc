// The tables of the documents are written from the code's tables. To write them anew: UPDATE_DOCS=1 npx ava __test__/unit/docs.test.ts

import test from 'ava'
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { deviceModels } from '../../ts/cli/devices/index.js'
import { virtioParameters } from '../../ts/cli/devices/device-model.js'
import { resolveBoard } from '../../ts/cli/draft-machine.js'
import { machineProperties } from '../../ts/cli/machine-types.js'
import { readArgv } from '../../ts/cli/read-argv.js'
import { refusedOptions } from '../../ts/cli/refused-options.js'
import { runOptions } from '../../ts/cli/run-options.js'
import * as errors from '../../ts/errors/index.js'
import { breakpointProblems } from '../../ts/errors/breakpoint-error.js'
import { guestImageProblems } from '../../ts/errors/guest-image-error.js'
import { unavailableReasons } from '../../ts/errors/kvm-unavailable-error.js'
import { vsockProblems } from '../../ts/errors/vsock-error.js'
import { accelProperties } from '../../ts/properties/index.js'
import { traceEvents } from '../../ts/trace/events.js'
import { interfaces, optionRows } from '../helpers/option-tables.js'
import { root } from '../helpers/paths.js'

const table = (...rows: readonly (readonly string[])[]): string => {
  const [head = [], ...body] = rows
  const line = (cells: readonly string[]) => `| ${cells.map(cell => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), `|${head.map(() => '---|').join('')}`, ...body.map(line)].join('\n')
}

const code = (text: string) => `\`${text}\``

const options = table(
  ['option', 'what it does', 'repeated', 'differs'],
  ...runOptions.map(({ name, aliases = [], argument, about, repeated, differs }) => [
    [name, ...aliases].map((name, index) => code(index === 0 && argument ? `${name} ${argument}` : name)).join(', '),
    about,
    repeated,
    differs,
  ]),
)

const machine = table(
  ['property', 'accepted', 'because'],
  ...machineProperties.map(({ name, values, about }) => [code(name), values.map(code).join(', '), about]),
)

/** Of a device's properties those of every virtio device are told once. */
const devices = table(
  ['device', 'properties', 'what it is', 'differs'],
  ...deviceModels.map(({ name, parameters, about, differs }) => [
    code(name),
    ['id', ...Object.keys(parameters).filter(key => !Object.hasOwn(virtioParameters, key))].map(code).join(', '),
    about,
    differs,
  ]),
)

const refused = table(
  ['option', 'there is no', 'instead'],
  ...refusedOptions.map(({ names, lacks, remedy }) => [names.map(code).join(', '), lacks, remedy]),
)

const events = table(
  ['event', 'arguments', 'when'],
  ...Object.entries(traceEvents).map(([name, { about, args }]) => [
    code(name),
    Object.entries(args)
      .map(([arg, type]) => `${code(arg)} ${type}`)
      .join(', '),
    about,
  ]),
)

const properties = table(
  ['property', 'object', 'takes', 'default', 'what it is', 'QEMU'],
  ...accelProperties.map(({ name, key, takes, defaultText, about, ours }) => [
    code(name),
    code(key),
    code(takes),
    code(defaultText),
    about,
    ours ? 'no' : 'yes',
  ]),
)

/** The pages about a device have the table of its options, too. */
const pagesOfInterfaces = {
  'memory.md': 'MemoryOptions',
  'disks.md': 'DiskOptions',
  'network.md': 'NetworkOptions',
  'vsock.md': 'VsockOptions',
  'balloon.md': 'BalloonOptions',
  'rng.md': 'RngOptions',
  'consoles.md': 'ConsoleOptions',
}

for (const [file, name, text] of [
  ['command-line.md', 'options', options],
  ['command-line.md', 'machine', machine],
  ['from-qemu.md', 'devices', devices],
  ['from-qemu.md', 'refused', refused],
  ['accelerator-properties.md', 'properties', properties],
  ['trace.md', 'events', events],
  ...[...interfaces.keys()].map(name => ['machine-options.md', name, table(...optionRows(name))] as const),
  ...Object.entries(pagesOfInterfaces).map(([page, name]) => [page, name, table(...optionRows(name))] as const),
] as const) {
  test.serial(`docs/${file}: the table of ${name} is the code's`, t => {
    const path = join(root, 'docs', file)
    const page = readFileSync(path, 'utf8')
    const section = new RegExp(`(<!-- ${name}:.*-->\n)([^]*?)(\n<!-- /${name} -->)`)
    const [, start = '', found, end = ''] = section.exec(page) ?? []
    if (process.env['UPDATE_DOCS'])
      writeFileSync(
        path,
        page.replace(section, () => `${start}${text}${end}`),
      )
    else t.is(found, text)
    t.not(found, undefined)
  })
}

test('docs/errors.md: every class, reason and problem is told', t => {
  const page = readFileSync(join(root, 'docs/errors.md'), 'utf8')
  const classes = Object.keys(errors).filter(name => name.endsWith('Error'))
  const words = [...classes, ...unavailableReasons, ...guestImageProblems, ...breakpointProblems, ...vsockProblems]
  t.deepEqual(
    words.filter(word => !page.includes(code(word))),
    [],
  )
})

const pages = [
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  ...readdirSync(join(root, 'docs')).map(name => `docs/${name}`),
]

for (const page of pages) {
  test(`${page}: the files that it names are there, and links lead somewhere`, t => {
    const text = readFileSync(join(root, page), 'utf8')
    const named = [...text.matchAll(/`((?:crates|docs|examples|npm|ts|__test__)\/[\w./-]+)`/g)].map(
      ([, path = '']) => path,
    )
    const linked = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, path = '']) => join(dirname(page), path))
    t.deepEqual(
      [...named, ...linked].filter(path => !existsSync(join(root, path))),
      [],
    )
  })
}

test('README.md: every document is in its list', t => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  t.deepEqual(
    pages.slice(1).filter(page => !readme.includes(`](${page})`)),
    [],
  )
})

test('docs/proof.md: the tests that it names are there', t => {
  const page = readFileSync(join(root, 'docs/proof.md'), 'utf8')
  const named: [string, string][] = []
  for (const [, path = '', titles = ''] of page.matchAll(/`([^`]+\.(?:ts|rs))`((?:,? “[^”]+”)+)/g))
    for (const [, title = ''] of titles.matchAll(/“([^”]+)”/g)) named.push([path, title])
  t.true(named.length > 20)
  t.deepEqual(
    named.filter(([path, title]) => !readFileSync(join(root, path), 'utf8').includes(title)),
    [],
  )
})

for (const page of ['command-line.md', 'from-qemu.md']) {
  test(`docs/${page}: the command lines in it are ones`, t => {
    const text = readFileSync(join(root, 'docs', page), 'utf8')
    const lines = [...text.matchAll(/^ {4}(?:kvm-accel run|kvm-accel-system-x86_64) +(-[^>\n]+)/gm)].map(
      ([, line = '']) => line,
    )
    t.true(lines.length > 0)
    for (const line of lines) {
      const argv = line.trim().split(/ +/)
      if (argv.includes('--config')) continue
      const files = { isMultiboot: () => false, isQcow2: () => false, readText: String }
      t.notThrows(() => {
        const draft = readArgv(argv)
        if (typeof draft === 'string') throw new Error(draft)
        resolveBoard(draft, files)
      }, line)
    }
  })
}
