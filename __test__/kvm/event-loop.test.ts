// A machine never blocks the event loop of Node.js. The bound is far above the aim of 5 ms, so that
// a busy host does not fail the test. `npm run bench` prints the delays.

import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { busyEnvironment } from '../helpers/busy-machine.mjs'
import { moments, neighbours } from '../helpers/moments.mjs'
import { root } from '../helpers/paths.js'
import { compiler, kvm, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

/** Maximum of the event loop's delay in milliseconds, beyond its delay beside a busy loop without a machine. */
const LIMIT = 50

/** Number of rounds. A stall occurs in every round, a short pause of the host does not. */
const ROUNDS = 3

/** Seconds after which a process counts as hung. */
const HUNG = 30

interface Round {
  readonly control: number
  readonly machine: number
  readonly took: number
}

const helper = join(root, '__test__/helpers/moments.mjs')

const within = async (t: ExecutionContext, name: string): Promise<void> => {
  const args = [helper, name, String(ROUNDS), String(LIMIT)]
  const env = busyEnvironment()
  const { status, stdout, stderr, timedOut } = await run(process.execPath, args, { env, limit: HUNG })
  t.false(timedOut, `the event loop stood still for more than ${HUNG} seconds`)
  t.is(status, 0, stderr)
  const rounds = JSON.parse(stdout) as readonly Round[]
  const text = rounds.map(
    ({ control, machine, took }) =>
      `${machine.toFixed(1)} ms without a turn (${control.toFixed(1)} without a machine) in ${took.toFixed(0)} ms`,
  )
  t.log(text.join('; '))
  t.true(
    rounds.some(({ control, machine }) => machine <= control + LIMIT),
    text.join('; '),
  )
}

for (const [name, { missing = () => undefined }] of Object.entries(moments)) {
  requires(kvm, compiler, missing)(`the event loop is not blocked: ${name}`, t => within(t, name))
}

for (const name of Object.keys(neighbours)) {
  requires(kvm, compiler)(`${name} arrive while a busy machine resets itself`, t => within(t, name))
}
