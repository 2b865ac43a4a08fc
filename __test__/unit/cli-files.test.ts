// Tests the files that the command line opens itself.

import test from 'ava'
import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isMultiboot } from '../../ts/cli/image-files.js'
import { openOutput } from '../../ts/cli/reports/output.js'
import { scratch } from '../helpers/paths.js'

const path = join(scratch(), 'fifo')
test.before(() => void execFileSync('mkfifo', [path]))

test('a FIFO is not an image, and is not waited for', t => {
  t.false(isMultiboot(path))
})

test('output to a FIFO fails without a reader, and writes every byte with a reader', t => {
  t.throws(() => openOutput('--test', path), { message: /^--test cannot write '.*': ENXIO/ })
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  {
    using output = openOutput('--test', path)
    output.write('a report')
  }
  t.is(readFileSync(reader, 'utf8'), 'a report')
  closeSync(reader)
})
