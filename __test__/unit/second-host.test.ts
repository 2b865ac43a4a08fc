// Tests how failures on the second host are attributed, and how its tests are divided.

import test from 'ava'
import { parts } from '../helpers/second-host.js'
import { ownFailure } from '../helpers/second-host.mjs'

const ended = (status: number): string =>
  `run: the command did not end (status ${status} of the machine; 124 is the time limit)\n`
const panic = 'Kernel panic - not syncing: IO-APIC + timer doesn’t work!'

test('only a panic of the host’s kernel or a silent console is the host’s own failure', t => {
  const stdout = `[    0.1] ${panic}\r\n[    0.1] more\n`
  t.is(ownFailure({ stdout, stderr: ended(0), silent: false }), `the host's kernel panicked: ${panic}`)
  t.is(
    ownFailure({ stdout: 'one\ntwo\n', stderr: ended(137), silent: true }),
    "the host hung: its console was silent for 300 seconds after 'two'",
  )
})

test('a failed command, a guest’s panic, the time limit and an end without a panic are failures of the test', t => {
  t.is(ownFailure({ stdout: '1 test failed', stderr: '', silent: false }), undefined)
  t.is(ownFailure({ stdout: `guest: ${panic}\n`, stderr: '', silent: false }), undefined)
  t.is(ownFailure({ stdout: `guest: ${panic}\n`, stderr: ended(124), silent: false }), undefined)
  t.is(ownFailure({ stdout: '', stderr: ended(0), silent: false }), undefined)
})

test('the parts take about the same time, and contain every file once', t => {
  const cost = new Map([
    ['a', 9],
    ['b', 5],
    ['c', 4],
    ['d', 1],
  ])
  t.deepEqual(
    parts(['d', 'c', 'b', 'a'], 2, file => cost.get(file) ?? 0),
    [
      ['a', 'd'],
      ['b', 'c'],
    ],
  )
})
