// The documents' tables are generated from the code's tables. To update them: UPDATE_DOCS=1 npx ava
// __test__/unit/docs.test.ts

import test from 'ava'
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { deviceModels } from '../../ts/cli/devices/index.js'
import { virtioParameters } from '../../ts/cli/devices/device-model.js'
import { resolveBoard } from '../../ts/cli/argv/draft-machine.js'
import { machineProperties } from '../../ts/cli/parameters/machine-types.js'
import { readArgv } from '../../ts/cli/argv/read-argv.js'
import { refusedOptions } from '../../ts/cli/argv/refused-options.js'
import { runOptions } from '../../ts/cli/argv/run-options.js'
import * as errors from '../../ts/errors/index.js'
import { breakpointProblems } from '../../ts/errors/operation/breakpoint-error.js'
import { guestImageProblems } from '../../ts/errors/options/guest-image-error.js'
import { unavailableReasons } from '../../ts/errors/host/kvm-unavailable-error.js'
import { vsockProblems } from '../../ts/errors/operation/vsock-error.js'
import { embeddedGuests } from '../../ts/machine/guests.js'
import { traceEvents } from '../../ts/trace/events.js'
import { codeBlocks, languages, marks, pages, readPage } from '../helpers/documents.js'
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
  ['property', 'accepted', 'what it does, or the fixed feature'],
  ...machineProperties.map(({ name, values, about }) => [code(name), values.map(code).join(', '), about]),
)

/** The properties of every virtio device, which the documents list once. */
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
  ['option', 'missing feature', 'instead'],
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

const guests = table(['guest', 'what it does'], ...embeddedGuests().map(({ name, about }) => [code(name), about]))

/** The pages about a device have the table of its options, too. */
const pagesOfInterfaces = [
  ['accelerator-properties.md', 'AccelOptions'],
  ['cpu.md', 'CpuOptions'],
  ['memory.md', 'MemoryOptions'],
  ['disks.md', 'DiskOptions'],
  ['disks.md', 'DiskThrottleOptions'],
  ['network.md', 'NetworkOptions'],
  ['vsock.md', 'VsockOptions'],
  ['balloon.md', 'BalloonOptions'],
  ['rng.md', 'RngOptions'],
  ['consoles.md', 'ConsoleOptions'],
  ['run.md', 'CaptureOptions'],
] as const

for (const [file, name, text] of [
  ['reference/command-line.md', 'options', options],
  ['reference/command-line.md', 'machine', machine],
  ['how-to/from-qemu.md', 'devices', devices],
  ['how-to/from-qemu.md', 'refused', refused],
  ['reference/trace.md', 'events', events],
  ['reference/guests.md', 'guests', guests],
  ...[...interfaces.keys()].map(name => ['reference/machine-options.md', name, table(...optionRows(name))] as const),
  ...pagesOfInterfaces.map(([page, name]) => [`reference/${page}`, name, table(...optionRows(name))] as const),
] as const) {
  test.serial(`docs/${file}: the table of ${name} equals the code's table`, t => {
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

test('docs/reference/errors.md names every class, reason and problem', t => {
  const page = readPage('docs/reference/errors.md')
  const classes = Object.keys(errors).filter(name => name.endsWith('Error'))
  const words = [...classes, ...unavailableReasons, ...guestImageProblems, ...breakpointProblems, ...vsockProblems]
  t.deepEqual(
    words.filter(word => !page.includes(code(word))),
    [],
  )
})

/** The anchors of a page's headings, by GitHub's rules. */
const anchors = (page: string): readonly string[] =>
  [...readPage(page).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )

for (const page of pages) {
  test(`${page} names files that exist, and its links lead to files and headings that exist`, t => {
    const text = readPage(page)
    const named = [...text.matchAll(/`((?:crates|docs|examples|npm|ts|__test__)\/[\w./-]+)`/g)].map(
      ([, path = '']) => path,
    )
    const links = [...text.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)].map(([, path = '', anchor]) => ({
      path: path === '' ? page : join(dirname(page), path),
      anchor,
    }))
    t.deepEqual(
      [...named, ...links.map(({ path }) => path)].filter(path => !existsSync(join(root, path))),
      [],
    )
    t.deepEqual(
      links.filter(({ path, anchor }) => anchor !== undefined && !anchors(path).includes(anchor)),
      [],
    )
  })
}

test('messages and comments in the code name pages that exist', t => {
  const { stdout } = spawnSync(
    'git',
    ['grep', '-nohE', 'docs/[a-z-]+/[a-z-]+\\.md', '--', 'ts', 'crates', '__test__'],
    {
      cwd: root,
      encoding: 'utf8',
    },
  )
  const named = new Set(stdout.split('\n').map(line => line.replace(/^\d+:/, '')))
  named.delete('')
  t.deepEqual(
    [...named].filter(path => !pages.includes(path)),
    [],
  )
})

test('docs/README.md lists every page of docs/', t => {
  const index = readPage('docs/README.md')
  const listed = pages.filter(page => page.startsWith('docs/') && page !== 'docs/README.md')
  t.deepEqual(
    listed.filter(page => !index.includes(`](${page.slice('docs/'.length)})`)),
    [],
  )
})

test('README.md and ARCHITECTURE.md have at most 150 lines, and README.md leads to the index of the documents', t => {
  const readme = readPage('README.md')
  t.true(readme.trimEnd().split('\n').length <= 150)
  t.true(readme.includes('](docs/README.md)'))
  t.true(readPage('ARCHITECTURE.md').trimEnd().split('\n').length <= 150)
})

test('lines of prose in the documents have at most 100 columns', t => {
  const long = pages
    .flatMap(page =>
      readPage(page)
        .replaceAll(/^```[^]*?^```$/gm, fence => '\n'.repeat(fence.split('\n').length - 1))
        .split('\n')
        .map((line, index) => ({ line, place: `${page}:${index + 1}` })),
    )
    .filter(({ line }) => line.length > 100 && !/^(?:\||<!--)/.test(line) && line.trim().includes(' '))
  t.deepEqual(
    long.map(({ place }) => place),
    [],
  )
})

test('docs/explanation/proof.md names tests that exist', t => {
  const page = readPage('docs/explanation/proof.md')
  const named: [string, string][] = []
  for (const [, path = '', titles = ''] of page.matchAll(/`([^`]+\.(?:ts|rs))`((?:,? “[^”]+”)+)/g))
    for (const [, title = ''] of titles.matchAll(/“([^”]+)”/g)) named.push([path, title])
  t.true(named.length > 20)
  t.deepEqual(
    named.filter(([path, title]) => !readFileSync(join(root, path), 'utf8').includes(title)),
    [],
  )
})

const blocks = pages.flatMap(codeBlocks)

test('code blocks are fenced, and have a known language and a known mark', t => {
  const known = (word: string) => Object.hasOwn(marks, word) || existsSync(join(root, word))
  const unknown = blocks.filter(
    ({ language, words }) => !(languages as readonly string[]).includes(language) || !words.every(known),
  )
  t.deepEqual(unknown, [])
  t.deepEqual(
    pages.filter(page => /\n\n(?: {4}|\t)(?![-*\d])\S/.test(readPage(page).replaceAll(/^```[^]*?^```$/gm, ''))),
    [],
  )
})

test('a file that a code block shows is used by another block of its page', t => {
  const unused = blocks.filter(
    ({ page, file, line }) =>
      file !== undefined &&
      !blocks.some(other => other.page === page && other.line !== line && other.code.includes(file)),
  )
  t.deepEqual(
    unused.map(({ page, line }) => `${page}:${line}`),
    [],
  )
})

test('a code block whose fence names a file is an excerpt of it, and Rust code names its file', t => {
  const plain = (text: string) => text.replaceAll(/\s+/g, ' ').trim()
  for (const { page, line, language, source, code } of blocks) {
    t.true(source !== undefined || language !== 'rust', `${page}:${line}`)
    if (source === undefined) continue
    t.true(plain(readFileSync(join(root, source), 'utf8')).includes(plain(code)), `${page}:${line}`)
  }
})

/** The arguments of each `kvm-accel run` and `kvm-accel-system-x86_64` of a shell script. */
const commandLines = (script: string): string[][] => {
  const lines = script.replaceAll(/\\\n */g, '').split('\n')
  const runs = lines.filter(line => /^(?:timeout \d+ )?kvm-accel(?:-system-x86_64| run) /.test(line))
  const print = `argv() { printf '%s\\n' "$@"; printf '\\n'; }\n`
  const argv = runs.map(line => line.replace(/^(?:timeout \d+ )?\S+(?: run)?/, 'argv').replace(/ (?:>|\|\|) ?.*$/, ''))
  const { stdout } = spawnSync('sh', ['-c', print + argv.join('\n')], { encoding: 'utf8' })
  return stdout
    .split('\n\n')
    .filter(text => text !== '')
    .map(text => text.split('\n'))
}

test('command lines in the documents are valid', t => {
  const scripts = blocks.filter(({ language }) => language === 'sh')
  let count = 0
  for (const { page, line, code } of scripts) {
    for (const argv of commandLines(code)) {
      if (argv.includes('--config') || argv.includes('help')) continue
      count++
      t.notThrows(
        () => {
          const draft = readArgv(argv)
          if (typeof draft === 'string') throw new Error(draft)
          resolveBoard(draft)
        },
        `${page}:${line}: ${argv.join(' ')}`,
      )
    }
  }
  t.true(count > 20)
})
