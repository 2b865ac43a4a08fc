// `npm run pack:all [-- FOLDER]` packs the tarballs of kvm-accel and of the platform packages that
// can be built here, into FOLDER (default `npm/tarballs`). The published package differs from the
// repository's in one point: it has optional dependencies on its platform packages. They are added
// in a copy, so that a clone can be installed before those packages are published. With `--built`
// nothing is built first: tests pack the existing files.

import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { alone, fail, root, run, setUp } from './steps.mjs'

/** Bytes. A larger package would be a mistake in `files`. */
const LIMIT = 10e6

const { values, positionals } = parseArgs({ options: { built: { type: 'boolean' } }, allowPositionals: true })
if (!values.built) setUp()
const folder = resolve(positionals[0] ?? join(root, 'npm/tarballs'))
rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const bin = name => join(root, 'node_modules/.bin', name)

/** A copy of the files to pack, because another process may pack or build at the same time. */
const staging = mkdtempSync(join(tmpdir(), 'kvm-accel-pack-'))
process.once('exit', () => rmSync(staging, { recursive: true, force: true }))

/**
 * The platform packages in napi's layout: a folder for each, with a package.json, to which the
 * addon is added.
 */
const layout = join(staging, 'platforms')
mkdirSync(layout)
// napi resolves its paths against its working directory.
copyFileSync(join(root, 'package.json'), join(staging, 'package.json'))
run('napi create-npm-dirs', bin('napi'), ['create-npm-dirs', '--cwd', staging, '--npm-dir', 'platforms'])
const optionalDependencies = {}
for (const platform of readdirSync(layout)) {
  const target = join(layout, platform)
  const own = JSON.parse(readFileSync(join(target, 'package.json'), 'utf8'))
  optionalDependencies[own.name] = manifest.version
  const built = join(root, 'ts/native', own.main)
  if (!existsSync(built)) continue
  copyFileSync(built, join(target, own.main))
  run(`npm pack of ${own.name}`, 'npm', ['pack', '--pack-destination', folder, target])
}

const copy = join(staging, 'package')
mkdirSync(copy)
alone(() => {
  for (const name of ['README.md', ...manifest.files.filter(name => !name.startsWith('!'))]) {
    cpSync(join(root, name), join(copy, name), { recursive: true })
  }
})
const { scripts: _scripts, devDependencies: _dev, overrides: _overrides, napi: _napi, ...published } = manifest
writeFileSync(join(copy, 'package.json'), `${JSON.stringify({ ...published, optionalDependencies }, null, 2)}\n`)
run('npm pack of kvm-accel', 'npm', ['pack', '--pack-destination', folder, copy])

for (const name of readdirSync(folder)) {
  const { size } = statSync(join(folder, name))
  if (size > LIMIT)
    fail(`${name} has ${size} bytes, and a package has at most ${LIMIT}`, 'See `files` in package.json.')
  console.log(`${join(folder, name)}  ${(size / 1e3).toFixed(0)} kB`)
}
