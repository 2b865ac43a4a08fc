// The layers of ts/, which layers.config.mjs ranks and oxlint checks.

import test from 'ava'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { layers } from '../../layers.config.mjs'
import { root, scratch } from '../helpers/paths.js'
import { run } from '../helpers/spawn.js'

/** Checks a tree of these files, by path, with the configuration of this package. */
const check = async (files: Record<string, string>) => {
  const folder = mkdtempSync(join(scratch(), 'layers-'))
  copyFileSync(join(root, 'layers.config.mjs'), join(folder, 'layers.config.mjs'))
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(folder, dirname(path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  const oxlint = join(root, 'node_modules/.bin/oxlint')
  const config = join(folder, 'layers.config.mjs')
  const { status, stdout } = await run(oxlint, ['-c', config, '--deny-warnings', join(folder, 'ts')])
  return { passes: status === 0, stdout }
}

/** A machine that a lower layer may not import. */
const machine = { 'ts/machine/machine.ts': 'export class Machine {}\n' }

test('an import of a lower layer passes', async t => {
  const { passes, stdout } = await check({
    'ts/machine/machine.ts': "export { KvmAccelError } from '../errors/kvm-accel-error.js'\n",
    'ts/errors/kvm-accel-error.ts': 'export class KvmAccelError {}\n',
  })
  t.true(passes, stdout)
})

for (const [what, statement] of [
  ['an import', "import { Machine } from '../machine/machine.js'\nexport const machine = new Machine()\n"],
  ['an import of a type', "import type { Machine } from '../machine/machine.js'\nexport type M = Machine\n"],
  ['an export', "export { Machine } from '../machine/machine.js'\n"],
  ['a dynamic import', "export const machine = () => import('../machine/machine.js')\n"],
] as const) {
  test(`${what} of a higher layer fails`, async t => {
    const { passes, stdout } = await check({ ...machine, 'ts/errors/wrong.ts': statement })
    t.false(passes)
    t.regex(stdout, /leaves ts\/errors upwards/)
  })
}

test('an import of a higher folder inside a layer fails', async t => {
  const devices = { 'ts/machine/devices/devices.ts': 'export class Devices {}\n' }
  const wrong = "export { Devices } from '../devices/devices.js'\n"
  const { passes, stdout } = await check({ ...devices, 'ts/machine/events/wrong.ts': wrong })
  t.false(passes)
  t.regex(stdout, /leaves ts\/machine\/events upwards/)
})

test('an import of the file above the folders of a layer fails', async t => {
  const { passes, stdout } = await check({
    ...machine,
    'ts/machine/events/wrong.ts': "export { Machine } from '../machine.js'\n",
  })
  t.false(passes)
  t.regex(stdout, /leaves ts\/machine\/events upwards/)
})

test('only ts/native imports the addon, and other folders import its types', async t => {
  const value = "import { guestImage } from '../native/binding.cjs'\nexport const image = guestImage\n"
  const type = "import type { BindingMachine } from '../native/binding.cjs'\nexport type Native = BindingMachine\n"
  const addon = { 'ts/native/native.ts': "export { guestImage } from './binding.cjs'\n" }
  t.true((await check({ ...addon, 'ts/machine/types.ts': type })).passes)
  const { passes, stdout } = await check({ ...addon, 'ts/machine/wrong.ts': value })
  t.false(passes)
  t.regex(stdout, /Only ts\/native imports the addon/)
})

test('an import cycle of two files fails, also when it imports types alone', async t => {
  const { passes, stdout } = await check({
    'ts/host/a.ts': "import type { B } from './b.js'\nexport type A = B | 0\n",
    'ts/host/b.ts': "import type { A } from './a.js'\nexport type B = A | 1\n",
  })
  t.false(passes)
  t.regex(stdout, /no-cycle/)
})

for (const [parent, { folders, top }] of Object.entries(layers)) {
  test(`${parent}: each folder has a rank, and each ranked folder and file exists`, t => {
    const entries = readdirSync(join(root, parent), { withFileTypes: true })
    const existing = entries.filter(entry => entry.isDirectory()).map(({ name }) => name)
    t.deepEqual(folders.toSorted(), existing.sort())
    for (const name of top) t.true(existsSync(join(root, parent, `${name}.ts`)), name)
  })
}
