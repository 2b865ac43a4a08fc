// The Rust tests that run guests, on the second host's stock kernel.

import { join } from 'node:path'
import { scratch } from '../helpers/paths.js'
import { kvm, requires, svmHost } from '../helpers/requires.js'
import { inTurn, inside, patience, secondTries, seconds } from '../helpers/second-host.js'
import { run } from '../helpers/spawn.js'

const test = requires(svmHost, kvm)

/** Rust test programs that need no device, or try so many inputs that an emulator takes minutes. */
const hostless = ['bad_images', 'bus', 'fuzz', 'headers', 'layout', 'serial']

/** The Rust test programs that run guests, built as `npm test` builds them. */
const rustTests = async (): Promise<string[]> => {
  const build = ['test', '--workspace', '--no-run', '--message-format', 'json']
  const { status, stdout, stderr } = await run('cargo', build, { limit: seconds })
  if (status !== 0) throw new Error(stderr)
  const built = stdout
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line) as { executable?: string | null; target?: { name: string; kind: string[] } })
  return built.flatMap(({ executable, target }) =>
    executable && target?.kind[0] === 'test' && !hostless.includes(target.name) ? [executable] : [],
  )
}

test('The Rust tests that run guests pass on a stock kernel with kvm-amd', async t => {
  t.timeout(2 * patience)
  const programs = await rustTests()
  t.true(programs.length > 0)
  const script = inTurn('env RUST_BACKTRACE=1', programs)
  const { status, stdout, stderr } = await inside([], ['sh', '-c', script], join(scratch(), 'svm-rust'))
  t.log(...secondTries(stdout))
  t.is(status, 0, `${stdout}${stderr}`)
})
