// What a clone needs before it can run: packages, the addon, the compiled TypeScript. Plain Node, because nothing is installed yet.
// Each step runs when the contents of its inputs have changed, and is silent unless it fails.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../../', import.meta.url))

/** Ends the process with a message for people. */
export const fail = (message, remedy) => {
  process.stderr.write(`kvm-accel: error: ${message}\n${remedy ? `  ${remedy}\n` : ''}`)
  process.exit(1)
}

/** A workspace of its own, which is no part of the package, and to which fuzzers write while tests run. */
const FUZZ = 'crates/machine/fuzz/'

const files = path => {
  const full = join(root, path)
  if (!existsSync(full)) return []
  if (statSync(full).isFile()) return [path]
  return readdirSync(full, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && !entry.name.endsWith('.node'))
    .map(entry => join(entry.parentPath ?? entry.path, entry.name).slice(root.length))
    .filter(file => !file.startsWith(FUZZ))
    .sort()
}

const digest = inputs => {
  const hash = createHash('sha256').update(process.version)
  for (const file of inputs.flatMap(files)) hash.update(`\0${file}\0`).update(readFileSync(join(root, file)))
  return hash.digest('hex')
}

/** Runs a command in the clone; its output is shown when it fails, and then the process ends. */
export const run = (what, command, args, env = {}) => {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  if (status === 0) return
  process.stderr.write(`${stdout ?? ''}${stderr ?? ''}`)
  fail(`${what} failed${error ? `: ${error.message}` : ''}`, `The command was: ${[command, ...args].join(' ')}`)
}

/** Runs `make` unless the inputs are what they were after the last time and the outputs are there. */
const step = (what, { inputs, outputs, stamp, make }) => {
  const now = digest(inputs)
  const file = join(root, stamp)
  const fresh =
    outputs.every(output => existsSync(join(root, output))) && existsSync(file) && readFileSync(file, 'utf8') === now
  if (fresh) return
  process.stderr.write(`kvm-accel: ${what} ...\n`)
  make()
  mkdirSync(dirname(file), { recursive: true })
  // The lock file and the generated binding may have been written by the step itself.
  writeFileSync(file, digest(inputs))
}

const present = command => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0

const bin = name => join(root, 'node_modules/.bin', name)

const install = () =>
  step('installing packages', {
    inputs: ['package-lock.json'],
    outputs: ['node_modules'],
    stamp: 'node_modules/.kvm-accel.stamp',
    make: () => run('npm ci', 'npm', ['ci', '--no-audit', '--no-fund']),
  })

/** The addon, its loader and its types, in a folder. */
const napiBuild = (folder, ...features) => {
  const build = ['build', '--platform', '--release', '--manifest-path', 'crates/binding/Cargo.toml']
  const output = ['--output-dir', folder, '--js', 'binding.cjs', '--dts', 'binding.d.cts']
  run('the build of the addon', bin('napi'), [...build, ...features, ...output])
}

const rust = ['Cargo.toml', 'Cargo.lock', 'crates']

const addon = () =>
  step('building the addon (release)', {
    inputs: rust,
    outputs: ['ts/native/binding.cjs'],
    stamp: 'target/kvm-accel/addon.stamp',
    make: () => {
      if (!present('cargo')) fail('cargo is not installed', 'Install Rust (rustup.rs) and run the command again.')
      if (!present('cc'))
        fail('there is no C compiler', 'Install gcc or clang (Debian: apt-get install gcc) and run the command again.')
      napiBuild('ts/native')
    },
  })

/** The command line in a few files: loading its hundred modules took longer than a small guest runs. */
const bundleCli = () => {
  rmSync(join(root, 'dist/cli'), { recursive: true })
  const entries = ['ts/cli/kvm-accel.ts', 'ts/cli/kvm-accel-system.ts']
  const format = ['--bundle', '--splitting', '--format=esm', '--platform=node', '--target=node20']
  const rest = ['--packages=external', '--sourcemap', '--outdir=dist/cli', '--log-level=warning']
  run('esbuild', bin('esbuild'), [...entries, ...format, ...rest])
}

const typescript = () =>
  step('compiling TypeScript', {
    inputs: ['ts', 'tsconfig.json', 'npm/scripts/steps.mjs', 'target/kvm-accel/addon.stamp'],
    outputs: ['dist/index.js', 'dist/native/binding.cjs'],
    stamp: 'dist/.kvm-accel.stamp',
    make: () => {
      rmSync(join(root, 'dist'), { recursive: true, force: true })
      run('tsc', bin('tsc'), [])
      bundleCli()
      const native = readdirSync(join(root, 'ts/native')).filter(name => /\.(node|cjs|d\.cts)$/.test(name))
      for (const name of native) copyFileSync(join(root, 'ts/native', name), join(root, 'dist/native', name))
    },
  })

/** The addon with the raw-ioctl start in it, for benchmarks; its loader. */
export const baselineAddon = () => {
  const folder = 'target/kvm-accel/baseline'
  step('building the addon with the baseline', {
    inputs: rust,
    outputs: [`${folder}/binding.cjs`],
    stamp: `${folder}/.stamp`,
    make: () => napiBuild(folder, '--features', 'baseline'),
  })
  return join(root, folder, 'binding.cjs')
}

/** The interposer, for tests. */
export const interposer = () =>
  step('building the interposer', {
    inputs: rust,
    outputs: ['target/release/libkvm_accel_interposer.so'],
    stamp: 'target/kvm-accel/interposer.stamp',
    make: () => run('the build of the interposer', 'cargo', ['build', '--release', '-p', 'kvm-accel-interposer']),
  })

/** Everything that `npm start` needs. */
export const setUp = () => {
  if (Number(process.versions.node.split('.')[0]) < 20)
    fail(`Node ${process.version} is too old`, 'Use Node 20 or later.')
  install()
  addon()
  typescript()
}
