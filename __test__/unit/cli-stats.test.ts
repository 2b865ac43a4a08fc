import test from 'ava'
import { runFiles } from '../helpers/run-files.js'
import { resolveRun } from '../../ts/cli/argv/resolve-run.js'
import { statsTable } from '../../ts/cli/reports/stats.js'
import { OptionError } from '../../ts/errors/index.js'

const stats = (...argv: string[]) => {
  const request = resolveRun(['-kernel', 'k', ...argv], runFiles)
  return request.kind === 'run' ? request.run.stats : undefined
}

test('-stats accepts seconds and a file', t => {
  t.is(stats(), null)
  t.deepEqual(stats('-stats', '1'), { seconds: 1, file: null })
  t.deepEqual(stats('-stats', '0.25,file=a,,b'), { seconds: 0.25, file: 'a,b' })
})

test('-stats refuses an invalid interval and other parameters', t => {
  for (const text of ['0', '', 'x', '-1', '1e9', 'file=f']) {
    t.throws(() => stats('-stats', text), { instanceOf: OptionError, message: /^-stats expects a number of seconds/ })
  }
  t.throws(() => stats('-stats', '1,fil=x'), { instanceOf: OptionError, message: /'fil'\. Did you mean 'file'\?/ })
  t.throws(() => stats('-stats', '1,file='), { instanceOf: OptionError, message: /expects a path/ })
})

test('the table shows kinds with rates, and the kernel’s counts over all vCPUs', t => {
  const exits = { io: { total: 1200, rate: 99.94 }, mmio: { total: 0, rate: 0 } }
  const kernel = { vm: {}, vcpus: [{ exits: 7, irq_exits: 0, blocking: 1 }, { exits: 5 }] }
  t.is(
    statsTable({ time: 1.5, exits, kernel }),
    [
      ['exits, 1.5 s', 'total', 'per s'],
      ['  io', '1200', '99.9'],
      ['  mmio', '0', '0.0'],
      ['the kernel, all vCPUs'],
      ['  exits', '12', '0.0'],
    ]
      .map(([name = '', total = '', rate = '']) =>
        `${name.padEnd(26)}${total.padStart(14)}${rate.padStart(12)}\n`.replace(/ +\n/, '\n'),
      )
      .join(''),
  )
  const later = { time: 3.5, exits, kernel: { vm: {}, vcpus: [{ exits: 112 }] } }
  t.regex(statsTable(later, { time: 1.5, exits, kernel }), /^ {2}exits +112 +50\.0$/m)
  t.regex(
    statsTable({ ...later, kernel: null }, { time: 1.5, exits, kernel }),
    /^ {2}exits +12 +0\.0$/m,
    'the last ones stay',
  )
  t.false(statsTable({ time: 0, exits, kernel: null }).includes('kernel'))
})
