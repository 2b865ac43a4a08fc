// In run state `paused`, guest memory does not change. 1,000 pauses with CI=true, else 200 for a
// short run. KVM_ACCEL_SEED and KVM_ACCEL_TEST_PAUSES select other moments and their number.

import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { busyEnvironment, unlike } from '../helpers/busy-machine.mjs'
import { root, scratch } from '../helpers/paths.js'
import { emptyQcow2 } from '../helpers/qcow2.js'
import { compiler, kvm, requires } from '../helpers/requires.js'
import { seed } from '../helpers/seed.js'
import { run } from '../helpers/spawn.js'

const test = requires(kvm, compiler)

const MIB = 2 ** 20

/** Number of pauses of each of the two tests. */
const PAUSES = Number(process.env['KVM_ACCEL_TEST_PAUSES'] ?? (process.env['CI'] === 'true' ? 1000 : 200)) / 2

/** Milliseconds between two snapshots of a paused machine's memory. */
const STILL = 200

/** Number of machines that share the host's processors. A paused machine uses no processor time. */
const MACHINES = 5

interface Result {
  readonly name: string
  /** Pages that changed while the machine was paused. */
  readonly moved: readonly string[]
  /** Pages that changed and were not in the dirty log. */
  readonly unmarked: readonly string[]
  /** Pages in the dirty log that were recorded only after the pause. */
  readonly late: readonly string[]
  /** Pauses after which the machine was not in run state `paused`. */
  readonly states: readonly string[]
  readonly pauses: number
  readonly counters: { readonly loops: number; readonly completed: Readonly<Record<string, number>> }
}

/** Large requests, so that requests are in flight at most pauses. */
const append = 'read=4096 write=1024'

const disk = (name: string): { path: string } => ({ path: unlike(join(scratch(), name), 64 * MIB) })

/** A disk whose image does not use io_uring. */
const qcow2 = (name: string): { path: string; format: string } => {
  const path = join(scratch(), name)
  writeFileSync(path, emptyQcow2(64 * MIB))
  return { path, format: 'qcow2' }
}

/** Pauses busy machines in a process that `launcher` starts. */
const pauses = async (t: ExecutionContext, launcher: readonly string[], disks: readonly object[]): Promise<void> => {
  t.timeout(300_000)
  const machines = disks.map((disk, index) => ({ name: `m${index}`, disk, append }))
  const config = { seed: seed(t), pauses: Math.ceil(PAUSES / machines.length), still: STILL, machines }
  const [command = '', ...args] = [...launcher, process.execPath, join(root, '__test__/helpers/stillness.mjs')]
  const env = busyEnvironment()
  const { status, stdout, stderr } = await run(command, [...args, JSON.stringify(config)], { env, limit: 280 })
  t.is(status, 0, stderr)
  for (const { name, moved, unmarked, late, states, counters } of JSON.parse(stdout) as readonly Result[]) {
    t.deepEqual(states, [], `${name}: the run state after pause()`)
    t.deepEqual(moved, [], `${name}: pages that changed while it was paused, by device`)
    t.deepEqual(unmarked, [], `${name}: pages that changed without a mark in the dirty log, by device`)
    t.deepEqual(late, [], `${name}: dirty pages that were recorded after pause() had resolved`)
    for (const [device, count] of Object.entries(counters.completed)) t.true(count > 0, `${name}: ${device} was idle`)
  }
}

test('after pause() guest memory does not change and every changed page is in the dirty log, with io_uring', async t => {
  await pauses(
    t,
    [],
    Array.from({ length: MACHINES }, (_, index) => disk(`ring-${index}`)),
  )
})

test('after pause() guest memory does not change and every changed page is in the dirty log, without io_uring', async t => {
  const launcher = join(scratch(), 'no-io-uring')
  const source = join(root, '__test__/helpers/no-io-uring.c')
  const { status, stderr } = spawnSync('cc', ['-O1', '-Wall', '-o', launcher, source], { encoding: 'utf8' })
  t.is(status, 0, stderr)
  const raw = Array.from({ length: MACHINES - 1 }, (_, index) => disk(`plain-${index}`))
  await pauses(t, [launcher], [...raw, qcow2('disk.qcow2')])
})
