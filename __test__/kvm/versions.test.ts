// Other versions of Node.js and TypeScript than those of this clone: npm installs them for this test.

import { spawnSync } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { root, scratch } from '../helpers/paths.js'
import { kvm, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

const test = requires(kvm)

const project = join(scratch(), 'versions')

/** Installs packages into a project of its own. Returns false if the registry is unavailable outside CI. */
const install = (t: ExecutionContext, name: string, ...packages: readonly string[]): string | undefined => {
  const folder = join(project, name)
  mkdirSync(join(folder, 'node_modules'), { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{ "private": true }')
  const argv = ['install', '--prefer-offline', '--no-audit', '--no-fund', ...packages]
  const { status, stderr } =
    packages.length === 0
      ? { status: 0, stderr: '' }
      : spawnSync('npm', argv, { cwd: folder, encoding: 'utf8', timeout: 400_000 })
  if (status === 0) {
    symlinkSync(root, join(folder, 'node_modules/kvm-accel'))
    return folder
  }
  if (process.env['CI'] === 'true') t.fail(stderr)
  else t.pass('npm cannot install other versions here')
  return undefined
}

/** A program that uses what depends most on Node.js: descriptors, streams, workers and disposal. */
const smoke = `
  import { Machine, guestImage, run } from 'kvm-accel'
  const { reason, output } = await run({ kernel: guestImage('hello'), memory: '16M', noReboot: true, timeout: 60_000 })
  console.log(reason, /Goodbye/.test(output))
  const machine = await Machine.create({ kernel: guestImage('serial-echo'), memory: '16M', serial: 'stream', noReboot: true })
  await machine.start()
  machine.serial.write('ping q')
  console.log((await machine.serial.expect(/p(..)g/)).groups[0], (await machine.wait()).reason)
  await machine.stop()
`
const required = `
  const { guestImage, run } = require('kvm-accel')
  const { Kvm } = require('kvm-accel/kvm')
  new Kvm().close()
  run({ kernel: guestImage('hello'), memory: '16M', noReboot: true }).then(({ reason }) => console.log(reason))
`

for (const version of ['this', '22', '24']) {
  test(`a guest runs on Node.js ${version}, from an ES module and from CommonJS`, async t => {
    t.timeout(600_000)
    const folder = install(t, `node-${version}`, ...(version === 'this' ? [] : [`node@${version}`]))
    if (folder === undefined) return
    const node = version === 'this' ? process.execPath : join(folder, 'node_modules/.bin/node')
    if (version !== 'this') {
      t.regex(spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout, new RegExp(`^v${version}\\.`))
    }
    writeFileSync(join(folder, 'smoke.mjs'), smoke)
    const module = await run(node, [join(folder, 'smoke.mjs')], { limit: 120 })
    t.is(module.stdout, 'guest-reset true\nin guest-reset\n', module.stderr)
    writeFileSync(join(folder, 'smoke.cjs'), required)
    const common = await run(node, [join(folder, 'smoke.cjs')], { limit: 120 })
    t.is(common.stdout, 'guest-reset\n', common.stderr)
  })
}

const source = `
import { Machine, run, type Exit } from 'kvm-accel'
import { Kvm } from 'kvm-accel/kvm'
export const signal = (signal?: AbortSignal) => Machine.create({ kernel: 'vmlinux', signal })
export const exit = async (): Promise<Exit['cause']> => (await run({ kernel: 'vmlinux', timeout: 5 })).cause
export const kvm = (): Kvm => new Kvm()
`

test('TypeScript 5.9 finds the types by each kind of module resolution', t => {
  t.timeout(600_000)
  const folder = install(t, 'typescript', 'typescript@5.9')
  if (folder === undefined) return
  const kinds: readonly (readonly [file: string, module: string, resolution: string])[] = [
    ['old.ts', 'commonjs', 'node10'],
    ['bundled.ts', 'esnext', 'bundler'],
    ['module.mts', 'nodenext', 'nodenext'],
    ['common.cts', 'nodenext', 'nodenext'],
    ['module16.mts', 'node16', 'node16'],
  ]
  for (const [file, module, resolution] of kinds) {
    writeFileSync(join(folder, file), source)
    const options = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--target', 'es2023']
    const types = [
      '--lib',
      'es2023,esnext.disposable',
      '--typeRoots',
      join(root, 'node_modules/@types'),
      '--types',
      'node',
    ]
    const argv = [...options, ...types, '--module', module, '--moduleResolution', resolution, file]
    const tsc = join(folder, 'node_modules/typescript/bin/tsc')
    const { status, stdout } = spawnSync(process.execPath, [tsc, ...argv], { cwd: folder, encoding: 'utf8' })
    t.is(status, 0, `${module}, ${resolution}: ${stdout}`)
  }
})
