// `npm test` sets everything up, runs every check and every test, and ends with the line
// `N passed, N failed[, N skipped]`. A check (formatting, lints, types) counts as one test. A run
// that fails without naming a test counts as one failure.

import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inside, RESTARTS, restarts } from '../../__test__/helpers/second-host.mjs'
import { buildTests, has } from './rust-tests.mjs'
import { seed, seeded } from './seed.mjs'
import { interposer, root, setUp } from './steps.mjs'

const total = { passed: 0, failed: 0, skipped: 0 }
/** The steps and their durations in seconds. */
const times = []

const add = ({ passed = 0, failed = 0, skipped = 0 }) => {
  total.passed += passed
  total.failed += failed
  total.skipped += skipped
}

/** Measures the duration of a step. */
const timed = async (name, work) => {
  const start = performance.now()
  try {
    return await work()
  } finally {
    times.push({ name, seconds: (performance.now() - start) / 1000 })
  }
}

const took = () => `(${times.at(-1).seconds.toFixed(1)} s)`

Object.assign(process.env, seeded(seed))

/**
 * Runs a command, and passes each line of its standard output and of its standard error to a
 * function. Resolves with its exit status.
 */
const lines = (command, args, onLine, onErrorLine = onLine) =>
  new Promise(resolve => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
    for (const [stream, onStreamLine] of [
      [child.stdout, onLine],
      [child.stderr, onErrorLine],
    ]) {
      let rest = ''
      stream.setEncoding('utf8')
      stream.on('data', chunk => {
        const parts = (rest + chunk).split('\n')
        rest = parts.pop()
        parts.forEach(part => onStreamLine(part))
      })
      stream.on('end', () => rest && onStreamLine(rest))
    }
    child.on('error', error => resolve(onLine(error.message) ?? 1))
    child.on('close', code => resolve(code ?? 1))
  })

/** Runs a check, which counts as one test. `work` returns the problem, or undefined. */
const verdict = async (name, work) => {
  const wrong = await timed(name, work)
  console.log(`${wrong === undefined ? '✔' : '✘'} ${name} ${took()}`)
  if (wrong !== undefined) console.log(wrong)
  add(wrong === undefined ? { passed: 1 } : { failed: 1 })
}

/** Runs a command as a check. Prints its output if it fails. */
const check = (name, command, args) =>
  verdict(name, async () => {
    const output = []
    const status = await lines(command, args, line => output.push(line))
    return status === 0 ? undefined : output.join('\n')
  })

/** Runs tests whose sums are in the lines that match `sum`. */
const counted = async (name, args, sum) => {
  const count = { passed: 0, failed: 0, skipped: 0 }
  const status = await timed(name, () =>
    lines('cargo', args, line => {
      const found = sum.exec(line)?.groups
      if (!found) return console.log(line)
      for (const key of Object.keys(count)) count[key] += Number(found[key] ?? 0)
    }),
  )
  if (status !== 0 && count.failed === 0) count.failed = 1
  console.log(`${status === 0 ? '✔' : '✘'} ${name}: ${count.passed} passed, ${count.failed} failed ${took()}`)
  add(count)
}

/**
 * Runs the Rust tests: by cargo-nextest if it is installed, because it runs tests of several
 * programs in parallel.
 */
const rust = async () => {
  const sum = /^test result: \w+\. (?<passed>\d+) passed; (?<failed>\d+) failed; (?<skipped>\d+) ignored/
  const all = ['--workspace', '--quiet', '--no-fail-fast']
  if (!existsSync('/dev/kvm')) console.log('- the Rust tests that run guests do nothing: no /dev/kvm on this host')
  if (!has('nextest')) return counted('cargo test', ['test', ...all], sum)
  const summary =
    /^ +Summary \[.*\] .* run: (?<passed>\d+) passed(?: \(.*?\))?(?:, (?<failed>\d+) failed)?(?:, \d+ timed out)?(?:, (?<skipped>\d+) skipped)?/
  await counted('Rust tests', ['nextest', 'run', '--workspace', '--hide-progress-bar', '--cargo-quiet'], summary)
  await counted('Rust documentation tests', ['test', '--doc', ...all], sum)
}

/** Runs tests with ava, and counts and prints the results of its TAP output. */
const ava = async (name, args) => {
  // Loaded late, because the set-up installs these packages.
  const [{ Parser }, { stringify }] = await Promise.all([import('tap-parser'), import('tap-yaml')])
  const count = { passed: 0, failed: 0, skipped: 0 }
  const parser = new Parser()
  parser.on('assert', ({ ok, name: test, skip, todo, diag }) => {
    const result = skip || todo ? 'skipped' : ok ? 'passed' : 'failed'
    count[result]++
    console.log(`${{ skipped: '-', passed: '✔', failed: '✘' }[result]} ${test}`)
    if (diag) console.log(stringify(diag).replace(/^(?=.)/gm, '  '))
  })
  // ava indents a message of `t.log` behind the `#`. Its other comments are sums.
  parser.on('comment', text => /^# \S/.test(text) || process.stdout.write(text))
  parser.on('extra', text => process.stdout.write(text))
  const command = join(root, 'node_modules/.bin/ava')
  const onLine = line => parser.write(`${line}\n`)
  const status = await timed(name, () => lines(command, ['--tap', ...args], onLine, console.log))
  parser.end()
  if (status !== 0 && count.failed === 0) count.failed = 1
  console.log(`${status === 0 ? '✔' : '✘'} ${name}: ${count.passed} passed, ${count.failed} failed ${took()}`)
  add(count)
}

/** Runs a check by a program that a newcomer may not have installed. CI installs it. */
const optional = async (name, tool, args) => {
  if (has(tool) || process.env.CI === 'true') return check(name, 'cargo', [tool, ...args])
  console.log(`- ${name} (missing: cargo install --locked --debug cargo-${tool})`)
  add({ skipped: 1 })
}

const only = process.argv.slice(2)
const secondHost = process.env.KVM_ACCEL_SVM_HOST && (only.length === 0 || only.some(name => name.includes('svm')))

await timed('build', () => {
  setUp()
  interposer()
})

const bin = name => join(root, 'node_modules/.bin', name)

const rustChecks = async () => {
  await check('rustfmt', 'cargo', ['fmt', '--all', '--check'])
  const clippy = (...args) => ['clippy', '--quiet', ...args, '--all-targets', '--', '-D', 'warnings']
  await check('clippy', 'cargo', clippy('--workspace', '--all-features'))
  // Feature `shuttle` leaves out the tests of crates/vmm that use the system's threads.
  await check('clippy without shuttle', 'cargo', clippy('--package', 'kvm-accel-vmm'))
  const document = ['doc', '--quiet', '--workspace', '--no-deps', '--document-private-items']
  await check('rustdoc', 'env', ['RUSTDOCFLAGS=-D warnings', 'cargo', ...document])
  await optional('cargo deny', 'deny', ['check', 'bans', 'licenses', 'sources'])
}

const typescriptChecks = async () => {
  await check('types', bin('tsc'), ['-p', 'tsconfig.test.json'])
  await check('oxlint', bin('oxlint'), ['--deny-warnings'])
  await check('the layers of ts/', bin('oxlint'), ['-c', 'layers.config.mjs', '--deny-warnings', 'ts'])
  await check('prettier', bin('prettier'), ['--check', '--log-level', 'warn', '.'])
  if (existsSync(join(root, '.git'))) {
    await check('the generated binding is the committed one', 'git', ['diff', '--exit-code', '--', 'ts/native'])
  }
}

if (only.length === 0) {
  await rustChecks()
  await typescriptChecks()
}
if (only.length === 0 || secondHost) await verdict('the Rust tests compile', buildTests)
if (only.length === 0) {
  await rust()
  const shuttle = ['test', '--quiet', '-p', 'kvm-accel-vmm', '--features', 'shuttle', '--lib']
  await check('the control thread in the interleavings that shuttle chooses', 'cargo', shuttle)
  // A short run, which finds shallow bugs and keeps the targets working. CONTRIBUTING.md describes
  // longer runs.
  if (process.env.CI) await check('fuzz', process.execPath, ['npm/scripts/fuzz.mjs', '5'])
  await ava('ava', ['__test__/**/*.test.ts', '!__test__/svm/**'])
}

const scratch = mkdtempSync(join(tmpdir(), 'kvm-accel-test-'))
process.once('exit', () => rmSync(scratch, { recursive: true, force: true }))
process.env.KVM_ACCEL_RESTARTS = join(scratch, 'restarts')
if (secondHost) {
  // The first boot of all builds the host's kernel and its modules. Two boots must not do this at
  // once.
  await verdict('the second host boots', async () => {
    const { status, stdout, stderr } = await inside(['-notify'], ['true'], join(scratch, 'boot'))
    return status === 0 ? undefined : `${stdout}${stderr}`
  })
}
// Each of these tests keeps a core busy for minutes, so they run after everything else.
await (only.length > 0 ? ava('ava', only) : ava('ava on the second host', ['__test__/svm/*.test.ts']))

console.log(times.map(({ name, seconds }) => `${seconds.toFixed(1).padStart(8)} s  ${name}`).join('\n'))
console.log(
  `${times
    .reduce((sum, { seconds }) => sum + seconds, 0)
    .toFixed(1)
    .padStart(8)} s  in all`,
)
for (const reason of restarts(process.env.KVM_ACCEL_RESTARTS)) console.log(`the second host was restarted: ${reason}`)
if (secondHost) {
  console.log(`restarts of the second host: ${restarts(process.env.KVM_ACCEL_RESTARTS).length} of at most ${RESTARTS}`)
}
if (total.failed > 0) console.log(`random tests had KVM_ACCEL_SEED=${seed}`)
console.log(`${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`)
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0
