// The steps that prepare a clone: packages, the addon, the compiled TypeScript. Uses Node's own
// modules only, because nothing is installed yet. Each step runs when the contents of its inputs
// have changed, and prints nothing unless it fails. A step builds beside its outputs and then
// renames, so that a program that runs meanwhile sees the old files or the new ones. Only one
// process builds at a time.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { withLock } from './lock.mjs'
import { writeInterfaces } from './option-interfaces.mjs'

export const root = fileURLToPath(new URL('../../', import.meta.url))

/** Ends the process with a message for the user. */
export const fail = (message, remedy) => {
  process.stderr.write(`kvm-accel: error: ${message}\n${remedy ? `  ${remedy}\n` : ''}`)
  process.exit(1)
}

/**
 * Files that no build reads: the fuzz targets (a workspace of their own), tests and benchmarks, and
 * the files that tests write. The sentences of options are written by the step that reads them.
 */
const NO_INPUT =
  /^crates\/[^/]+\/(fuzz|tests|benches|proptest-regressions)\/|\.(proptest-regressions|node|new)$|\/option-sentences\.ts$/

const files = path => {
  const full = join(root, path)
  if (!existsSync(full)) return []
  if (statSync(full).isFile()) return [path]
  return readdirSync(full, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath ?? entry.path, entry.name).slice(root.length))
    .filter(file => !NO_INPUT.test(file))
    .sort()
}

const digest = inputs => {
  const hash = createHash('sha256').update(process.version)
  for (const file of inputs.flatMap(files)) hash.update(`\0${file}\0`).update(readFileSync(join(root, file)))
  return hash.digest('hex')
}

/** Runs a command in the clone. If it fails, prints its output and ends the process. */
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

const LOCK = join(root, 'target/kvm-accel/build.lock')

/** Milliseconds. A build of the addon takes minutes on a busy machine. */
const PATIENCE = 30 * 60_000

/** Calls `work` while no other process of this clone builds. */
export const alone = work => {
  const onWait = pid => process.stderr.write(`kvm-accel: process ${pid} is building; waiting for it ...\n`)
  try {
    return withLock(LOCK, { patience: PATIENCE, onWait }, work)
  } catch (error) {
    if (!error.message.includes(LOCK)) throw error
    return fail(error.message, 'End that process, or wait for it, and run the command again.')
  }
}

/** Replaces a file by a copy in one step. A program that has the old file open keeps using it. */
const install = (from, to) => {
  copyFileSync(from, `${to}.new`)
  renameSync(`${to}.new`, to)
}

/** Replaces a folder by a new one. */
const swap = (fresh, folder) => {
  const old = `${folder}.old`
  rmSync(old, { recursive: true, force: true })
  if (existsSync(folder)) renameSync(folder, old)
  renameSync(fresh, folder)
  rmSync(old, { recursive: true, force: true })
}

/** Empties or creates a folder. */
const emptied = folder => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  return folder
}

/** Runs `make` if the inputs have changed since the last run, or if an output is missing. */
const step = (what, { inputs, outputs, stamp, make }) => {
  const file = join(root, stamp)
  /** Returns the digest of the inputs; undefined if the outputs were built from these inputs. */
  const stale = () => {
    const now = digest(inputs)
    const there = outputs.every(output => existsSync(join(root, output))) && existsSync(file)
    return there && readFileSync(file, 'utf8') === now ? undefined : now
  }
  if (stale() === undefined) return
  alone(() => {
    // Another process may have run the step meanwhile.
    const now = stale()
    if (now === undefined) return
    process.stderr.write(`kvm-accel: ${what} ...\n`)
    make()
    // Writes the digest from before the build. If an input was edited during the build, the next
    // run builds it.
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, now)
  })
}

const present = command => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0

const bin = name => join(root, 'node_modules/.bin', name)

const packages = () =>
  step('installing packages', {
    inputs: ['package-lock.json'],
    outputs: ['node_modules'],
    stamp: 'node_modules/.kvm-accel.stamp',
    make: () => run('npm ci', 'npm', ['ci', '--no-audit', '--no-fund']),
  })

/** Builds the addon, its loader and its types in an empty folder. */
const napiBuild = (folder, ...features) => {
  emptied(join(root, folder))
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
        fail('no C compiler found', 'Install gcc or clang (Debian: apt-get install gcc) and run the command again.')
      const built = 'target/kvm-accel/addon.new'
      napiBuild(built)
      for (const name of readdirSync(join(root, built))) install(join(root, built, name), join(root, 'ts/native', name))
      rmSync(join(root, built), { recursive: true })
    },
  })

/** The parameters of Node's wrapper function of a CommonJS module. */
const MODULE = 'exports, require, module, __filename, __dirname'

/**
 * Bundles entries into CommonJS modules. Node loads these with fewer files and less waiting than
 * ECMAScript modules.
 */
const esbuild = (entries, folder, ...more) => {
  const format = ['--bundle', '--format=cjs', '--platform=node', '--target=node20', '--external:commander']
  const rest = ['--sourcemap', `--outdir=${folder}`, '--log-level=warning']
  run('esbuild', bin('esbuild'), [...entries.map(name => `ts/cli/${name}.ts`), ...format, ...rest, ...more])
}

/**
 * Bundles the command line into a few files: loading its hundred modules took longer than a small
 * guest runs. Each bundle is a function expression, which ts/cli/load-bundle.ts calls.
 */
const bundleCli = folder => {
  const cli = `${folder}/cli`
  emptied(join(root, cli))
  esbuild(
    ['run', 'commands'],
    cli,
    '--entry-names=[name]-[hash]',
    '--supported:dynamic-import=false',
    '--define:import.meta.url=importMetaUrl',
    `--banner:js=(function (${MODULE}) { const importMetaUrl = require('node:url').pathToFileURL(__filename).href;`,
    '--footer:js=})',
  )
  const bundle = name => readdirSync(join(root, cli)).find(file => new RegExp(`^${name}-\\w+\\.js$`).test(file))
  const bundles = JSON.stringify({ run: bundle('run'), commands: bundle('commands') })
  esbuild(['kvm-accel', 'kvm-accel-system'], cli, `--define:BUNDLES=${bundles}`)
  writeFileSync(join(root, cli, 'package.json'), '{ "type": "commonjs" }\n')
  return join(root, cli, bundle('run'))
}

/**
 * Compiles `kvm-accel run` for this version of Node. A bundle without compiled code also works, and
 * starts more slowly.
 */
const compileCli = (folder, bundle) => {
  const { guestImage } = createRequire(import.meta.url)(join(root, folder, 'native/binding.cjs'))
  const kernel = join(root, folder, 'hello.elf')
  writeFileSync(kernel, guestImage('hello', false))
  const script = join(root, 'npm/scripts/compile-bundle.mjs')
  // Takes one second on an idle host.
  spawnSync(process.execPath, [script, bundle, kernel], { stdio: 'ignore', timeout: 60_000, killSignal: 'SIGKILL' })
  rmSync(kernel)
}

const typescript = () =>
  step('compiling TypeScript', {
    inputs: [
      'ts',
      'tsconfig.json',
      'npm/scripts/steps.mjs',
      'npm/scripts/option-interfaces.mjs',
      'npm/scripts/option-sentences.mjs',
      'npm/scripts/option-texts.mjs',
      'npm/scripts/man-page.mjs',
      'npm/scripts/compile-bundle.mjs',
      'target/kvm-accel/addon.stamp',
    ],
    outputs: ['dist/index.js', 'dist/kvm-accel.1', 'dist/native/binding.cjs', 'ts/cli/parameters/option-sentences.ts'],
    stamp: 'target/kvm-accel/dist.stamp',
    make: () => {
      const fresh = 'dist.new'
      emptied(join(root, fresh))
      run('the sentences of options', process.execPath, ['--import', 'tsx', 'npm/scripts/option-sentences.mjs'])
      run('tsc', bin('tsc'), ['--outDir', fresh])
      for (const folder of ['machine/config', 'properties']) writeInterfaces(join(root, fresh, folder))
      run('the manual page', process.execPath, ['--import', 'tsx', 'npm/scripts/man-page.mjs', `${fresh}/kvm-accel.1`])
      const bundle = bundleCli(fresh)
      const native = readdirSync(join(root, 'ts/native')).filter(name => /\.(node|cjs|d\.cts)$/.test(name))
      for (const name of native) copyFileSync(join(root, 'ts/native', name), join(root, fresh, 'native', name))
      compileCli(fresh, bundle)
      swap(join(root, fresh), join(root, 'dist'))
    },
  })

/** Builds the addon with the raw-ioctl start, for benchmarks. Returns the path of its loader. */
export const baselineAddon = () => {
  const folder = 'target/kvm-accel/baseline'
  step('building the addon with the baseline', {
    inputs: rust,
    outputs: [`${folder}/binding.cjs`],
    stamp: 'target/kvm-accel/baseline.stamp',
    make: () => {
      napiBuild(`${folder}.new`, '--features', 'baseline')
      swap(join(root, `${folder}.new`), join(root, folder))
    },
  })
  return join(root, folder, 'binding.cjs')
}

/** Builds the interposer, for tests. */
export const interposer = () => {
  const library = 'target/kvm-accel/libkvm_accel_interposer.so'
  step('building the interposer', {
    inputs: ['Cargo.toml', 'Cargo.lock', 'crates/interposer'],
    outputs: [library],
    stamp: 'target/kvm-accel/interposer.stamp',
    make: () => {
      run('the build of the interposer', 'cargo', ['build', '--release', '-p', 'kvm-accel-interposer'])
      install(join(root, 'target/release', basename(library)), join(root, library))
    },
  })
}

/** Runs all steps that `npm start` needs. */
export const setUp = () => {
  if (Number(process.versions.node.split('.')[0]) < 20)
    fail(`Node ${process.version} is too old`, 'Use Node 20 or later.')
  packages()
  addon()
  typescript()
}
