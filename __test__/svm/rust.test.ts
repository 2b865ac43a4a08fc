// Runs the Rust tests with guests on the second host's stock kernel.

import { readFileSync } from 'node:fs'
import { programs } from '../../npm/scripts/rust-tests.mjs'
import { kvm, requires, svmHost } from '../helpers/requires.js'
import { inTurn, passes, patience } from '../helpers/second-host.js'

const test = requires(svmHost, kvm)

/** Rust test programs that need no device, or that try too many inputs for an emulator. */
const hostless = ['bad_images', 'bus', 'fuzz', 'headers', 'layout', 'serial']

/** The Rust test programs that run guests, as `npm test` has built them. */
const rustTests = (): string[] => {
  const list = JSON.parse(readFileSync(programs, 'utf8')) as { name: string; kind: string; executable: string }[]
  return list
    .filter(({ name, kind }) => kind === 'test' && !hostless.includes(name))
    .map(({ executable }) => executable)
}

test('The Rust tests that run guests pass on a stock kernel with kvm-amd', async t => {
  t.timeout(patience)
  const tests = rustTests()
  t.true(tests.length > 0)
  await passes(t, [], ['sh', '-c', inTurn('RUST_BACKTRACE=1', tests)], 'rust')
})
