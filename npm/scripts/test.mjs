// `npm test`: sets everything up, runs every check and every test, and ends with the line `N passed, N failed[, N skipped]`.
// A check (formatting, lints, types) counts as one test. What ends badly without naming a test counts as a failure.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { interposer, root, setUp } from './steps.mjs'

const total = { passed: 0, failed: 0, skipped: 0 }

const add = ({ passed = 0, failed = 0, skipped = 0 }) => {
  total.passed += passed
  total.failed += failed
  total.skipped += skipped
}

/** Runs a command and hands each line of its output to `onLine`; its status. */
const lines = (command, args, onLine) =>
  new Promise(resolve => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [child.stdout, child.stderr]) {
      let rest = ''
      stream.setEncoding('utf8')
      stream.on('data', chunk => {
        const parts = (rest + chunk).split('\n')
        rest = parts.pop()
        parts.forEach(onLine)
      })
      stream.on('end', () => rest && onLine(rest))
    }
    child.on('error', error => resolve(onLine(error.message) ?? 1))
    child.on('close', code => resolve(code ?? 1))
  })

/** A check: one test, its output shown when it fails. */
const check = async (name, command, args) => {
  const output = []
  const status = await lines(command, args, line => output.push(line))
  console.log(`${status === 0 ? '✔' : '✘'} ${name}`)
  if (status !== 0) console.log(output.join('\n'))
  add(status === 0 ? { passed: 1 } : { failed: 1 })
}

/** `cargo test`, counted by its summaries. */
const cargoTest = async () => {
  const counted = { passed: 0, failed: 0, skipped: 0 }
  const status = await lines('cargo', ['test', '--workspace', '--quiet', '--no-fail-fast'], line => {
    const result = /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/.exec(line)
    if (!result) return console.log(line)
    counted.passed += Number(result[1])
    counted.failed += Number(result[2])
    counted.skipped += Number(result[3])
  })
  if (status !== 0 && counted.failed === 0) counted.failed = 1
  console.log(`${status === 0 ? '✔' : '✘'} cargo test: ${counted.passed} passed, ${counted.failed} failed`)
  add(counted)
}

/** ava, counted by its TAP output. */
const ava = async args => {
  const counted = { passed: 0, failed: 0, skipped: 0 }
  const status = await lines(join(root, 'node_modules/.bin/ava'), ['--tap', ...args], line => {
    const result = /^(not )?ok \d+ - (.*?)( # (SKIP|TODO).*)?$/.exec(line)
    // What a test tells (`t.log`) is an indented comment; the others are ava's own sums.
    if (!result) return /^(# \S|1\.\.|TAP version|$)/.test(line) || console.log(line)
    if (result[4]) counted.skipped++
    else if (result[1]) counted.failed++
    else counted.passed++
    console.log(`${result[4] ? '-' : result[1] ? '✘' : '✔'} ${result[2]}`)
  })
  if (status !== 0 && counted.failed === 0) counted.failed = 1
  add(counted)
}

setUp()
interposer()

const bin = name => join(root, 'node_modules/.bin', name)
const only = process.argv.slice(2)
if (only.length === 0) {
  await check('rustfmt', 'cargo', ['fmt', '--all', '--check'])
  await check('clippy', 'cargo', [
    'clippy',
    '--quiet',
    '--workspace',
    '--all-targets',
    '--all-features',
    '--',
    '-D',
    'warnings',
  ])
  const document = ['doc', '--quiet', '--workspace', '--no-deps', '--document-private-items']
  await check('rustdoc', 'env', ['RUSTDOCFLAGS=-D warnings', 'cargo', ...document])
  await check('types', bin('tsc'), ['-p', 'tsconfig.test.json'])
  await check('oxlint', bin('oxlint'), ['--deny-warnings'])
  await check('prettier', bin('prettier'), ['--check', '--log-level', 'warn', '.'])
  if (existsSync(join(root, '.git'))) {
    await check('the generated binding is the committed one', 'git', ['diff', '--exit-code', '--', 'ts/native'])
  }
  await cargoTest()
  // Short, to find what is easily found and to keep the targets alive: CONTRIBUTING.md says how to look for longer.
  if (process.env.CI) await check('fuzz', process.execPath, ['npm/scripts/fuzz.mjs', '8'])
}
if (only.length > 0) {
  await ava(only)
} else {
  // The second host is an emulated machine that keeps a core busy for minutes: after everything else.
  await ava(['__test__/**/*.test.ts', '!__test__/svm/**'])
  await ava(['__test__/svm/*.test.ts'])
}
console.log(`${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`)
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0
