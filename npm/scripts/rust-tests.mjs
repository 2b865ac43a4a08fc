// The Rust tests: their build, their command, and the list of the random ones.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { alone, root } from './steps.mjs'

/**
 * The test programs of the last build, as JSON: `[{ name, kind, executable }]`. Tests read it, so
 * that they need not build.
 */
export const programs = join(root, 'target/kvm-accel/rust-tests.json')

/** True if the command exists. */
export const has = (...command) => spawnSync('cargo', [...command, '--version'], { stdio: 'ignore' }).status === 0

/** Builds all Rust tests. Returns the compiler's output if that fails. */
export const buildTests = () =>
  alone(() => {
    const args = ['test', '--workspace', '--no-run', '--message-format', 'json-render-diagnostics']
    const { status, stdout, stderr } = spawnSync('cargo', args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 })
    if (status !== 0) return stderr
    const built = stdout
      .split('\n')
      .filter(line => line.startsWith('{'))
      .map(line => JSON.parse(line))
      .filter(({ executable, profile }) => executable && profile?.test)
    const list = built.map(({ executable, target }) => ({ name: target.name, kind: target.kind[0], executable }))
    mkdirSync(dirname(programs), { recursive: true })
    writeFileSync(programs, JSON.stringify(list))
    return undefined
  })

/** Returns the names of the property tests: test functions with arguments. */
export const propertyTests = () =>
  readdirSync(join(root, 'crates'), { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && entry.name.endsWith('.rs'))
    .map(entry => readFileSync(join(entry.parentPath ?? entry.path, entry.name), 'utf8'))
    .flatMap(text => [...text.matchAll(/#\[test\]\s*(?:#\[.*\]\s*)*fn (\w+)\(\s*\(?\w/g)].map(([, name]) => name))
