// `npm run pack:all [-- FOLDER]`: the tarballs of kvm-accel and of the platform packages that can be built here, in FOLDER (`npm/tarballs`).
// The published package differs from the repository's in one thing: it depends, optionally, on its platform packages. That is done
// in a copy, so that a clone installs without packages that are not published yet.

import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { fail, root, run, setUp } from './steps.mjs'

/** Bytes; more would be a mistake in `files`. */
const LIMIT = 10e6

setUp()
const folder = resolve(process.argv[2] ?? join(root, 'npm/tarballs'))
rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const bin = name => join(root, 'node_modules/.bin', name)

/** Platform packages, by napi's layout: npm/PLATFORM with a package.json, to be filled with the addon. */
run('napi create-npm-dirs', bin('napi'), ['create-npm-dirs', '--npm-dir', 'npm'])
const platforms = readdirSync(join(root, 'npm'), { withFileTypes: true })
  .filter(entry => entry.isDirectory() && existsSync(join(root, 'npm', entry.name, 'package.json')))
  .map(entry => entry.name)

const optionalDependencies = {}
for (const platform of platforms) {
  const target = join(root, 'npm', platform)
  const own = JSON.parse(readFileSync(join(target, 'package.json'), 'utf8'))
  optionalDependencies[own.name] = manifest.version
  const built = join(root, 'ts/native', own.main)
  if (!existsSync(built)) continue
  copyFileSync(built, join(target, own.main))
  run(`npm pack of ${own.name}`, 'npm', ['pack', '--pack-destination', folder, target])
}

const staging = join(root, 'npm/staging')
rmSync(staging, { recursive: true, force: true })
mkdirSync(staging)
for (const name of ['dist', 'docs', 'README.md', 'CHANGELOG.md', 'LICENSE-APACHE', 'LICENSE-MIT']) {
  cpSync(join(root, name), join(staging, name), { recursive: true })
}
const { scripts: _scripts, devDependencies: _dev, overrides: _overrides, napi: _napi, ...published } = manifest
writeFileSync(join(staging, 'package.json'), `${JSON.stringify({ ...published, optionalDependencies }, null, 2)}\n`)
run('npm pack of kvm-accel', 'npm', ['pack', '--pack-destination', folder, staging])
rmSync(staging, { recursive: true })

for (const name of readdirSync(folder)) {
  const { size } = statSync(join(folder, name))
  if (size > LIMIT)
    fail(`${name} has ${size} bytes, and a package has at most ${LIMIT}`, 'See `files` in package.json.')
  console.log(`${join(folder, name)}  ${(size / 1e3).toFixed(0)} kB`)
}
