// A machine ends at once on request, in every situation. The tests end 200 busy machines, each at a
// random moment of its lifecycle. The aim is 100 ms; the bounds here also hold on a busy host.
// KVM_ACCEL_SEED selects other moments.

import { once } from 'node:events'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import { busyGuestFile } from '../helpers/busy-guest.mjs'
import { busyEnvironment, busyOptions, memoryFolder, sparse, startPeer } from '../helpers/busy-machine.mjs'
import { cli, root, scratch } from '../helpers/paths.js'
import { median, watchLoad } from '../helpers/load.mjs'
import { random } from '../helpers/random.mjs'
import { compiler, kvm, requires } from '../helpers/requires.js'
import { seed } from '../helpers/seed.js'
import { run, start, type Running } from '../helpers/spawn.js'

const test = requires(kvm, compiler)

/** Maximum of the median, in milliseconds on an idle host. */
const AIM = 100

/** Maximum of each end, in milliseconds. */
const BOUND = 2000

/** The latest moment of a process, in milliseconds after its start. The start of Node.js takes a part of this time. */
const LATEST = 400

interface End {
  readonly kind: string
  readonly moment: number
  readonly took: number
  /** Threads and descriptors that remain. */
  readonly left: readonly string[]
}

interface Inside {
  readonly load: number
  readonly control: number
  readonly ends: readonly End[]
}

const describe = ({ kind, moment, took, left }: End): string =>
  `${kind} at ${moment.toFixed(0)} ms: ${took.toFixed(0)} ms${left.length > 0 ? `; left: ${left.join(', ')}` : ''}`

/**
 * `control` is the time of an end without a machine. `load` is the ratio of times on this host to
 * times on an idle host.
 */
const judge = (t: ExecutionContext, ends: readonly End[], control: number, load: number): void => {
  const times = ends.map(({ took }) => took)
  const [middle, bound] = [median(times) ?? Infinity, (AIM + control) * load]
  const text = `median ${middle.toFixed(0)} ms, longest ${Math.max(...times).toFixed(0)} ms, without a machine ${control.toFixed(0)} ms, load ${load.toFixed(1)}`
  t.log(text)
  t.deepEqual(ends.filter(({ left, took }) => left.length > 0 || took > BOUND).map(describe), [])
  t.true(middle <= bound, text)
}

/** Ends machines in a process that then checks its threads and descriptors. */
const inside = async (t: ExecutionContext, kinds: readonly string[], count: number): Promise<void> => {
  t.timeout(300_000)
  const args = [join(root, '__test__/helpers/aborts.mjs'), JSON.stringify({ seed: seed(t), kinds, count })]
  const env = busyEnvironment()
  const { status, stdout, stderr, timedOut } = await run(process.execPath, args, { env, limit: 240 })
  t.false(timedOut, 'the process hung')
  t.is(status, 0, stderr)
  const { load, control, ends } = JSON.parse(stdout) as Inside
  judge(t, ends, control, load)
  t.is(ends.length, count)
}

test('AbortSignal, stop() and dispose end a busy machine at any moment and leave no thread and no descriptor', t =>
  inside(t, ['signal', 'stop', 'signal', 'stop', 'dispose'], 120))

test('worker.terminate() ends a busy machine at any moment and leaves no thread and no descriptor', t =>
  inside(t, ['terminate'], 40))

/** Resolves with the milliseconds until a process has ended. Kills a process that does not end. */
const ending = async ({ child, finished }: Running): Promise<number> => {
  const from = performance.now()
  const killer = setTimeout(() => child.kill('SIGKILL'), 2 * BOUND)
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  const took = performance.now() - from
  clearTimeout(killer)
  await finished
  return took
}

const processes = async (
  t: ExecutionContext,
  one: (round: number, next: () => number) => Promise<Omit<End, 'left'>>,
): Promise<void> => {
  t.timeout(300_000)
  const next = random(seed(t))
  const load = watchLoad()
  const ends: End[] = []
  for (let round = 0; round < 20; round++) {
    load.look()
    ends.push({ ...(await one(round, next)), left: [] })
  }
  const controls: number[] = []
  for (let round = 0; round < 5; round++) {
    const idle = start(process.execPath, [
      '-e',
      "setTimeout(() => process.stdout.write('exits', () => process.exit()), 50)",
    ])
    await once(idle.child.stdout ?? idle.child, 'data')
    controls.push(await ending(idle))
  }
  judge(t, ends, median(controls) ?? 0, load.factor())
}

test('process.exit() ends a process with a busy machine at any moment', async t => {
  const folder = memoryFolder()
  using peer = startPeer({ interval: 2 })
  await processes(t, async (round, next) => {
    const disk = sparse(join(folder, `disk-${round}`), 2 ** 32)
    const append = 'read=1048576 write=0 depth=4'
    const options = await busyOptions({ folder, name: `m${round}`, disk, peer, append, serial: 'null' })
    const moment = next() * LATEST
    const input = JSON.stringify({ options, seed: Math.floor(next() * 2 ** 31), moment })
    const process_ = start(process.execPath, [join(root, '__test__/helpers/busy-life.mjs'), input])
    await Promise.race([once(process_.child.stdout ?? process_.child, 'data'), process_.finished])
    const took = await ending(process_)
    const { status, stderr } = await process_.finished
    t.is(stderr, '')
    t.true(status === 7 || took > BOUND, `status ${status}`)
    return { kind: 'process.exit()', moment, took }
  })
})

test('SIGTERM ends kvm-accel run and kvm-accel-system-x86_64 with a busy machine at any moment', async t => {
  const folder = memoryFolder()
  using peer = startPeer({ interval: 2 })
  await processes(t, async (round, next) => {
    const disk = sparse(join(folder, `disk-${round}`), 2 ** 32)
    const network = await peer.listen(join(folder, `net-${round}`))
    const program = round % 2 === 0 ? [cli, 'run'] : [join(root, 'dist/cli/kvm-accel-system.js')]
    const machine = ['-m', '16M', '-nodefaults', '-display', 'none', '-serial', 'stdio', '-kernel', busyGuestFile()]
    const devices = [
      ...['-append', 'read=1048576 write=0 depth=4'],
      ...['-drive', `file=${disk},format=raw,if=none,id=disk`, '-device', 'virtio-blk-device,drive=disk'],
      ...['-netdev', `stream,id=net,server=off,addr.type=unix,addr.path=${network}`],
      ...[
        '-device',
        'virtio-net-device,netdev=net',
        '-device',
        'virtio-rng-device',
        '-device',
        'virtio-balloon-device',
      ],
    ]
    const moment = next() * LATEST
    const process_ = start(process.execPath, [...program, ...machine, ...devices])
    // Half of the moments count from the guest's first line.
    if (round % 4 > 1) await once(process_.child.stdout ?? process_.child, 'data')
    await sleep(moment)
    t.is(process_.child.exitCode, null, 'the machine runs until the signal')
    process_.child.kill('SIGTERM')
    return { kind: 'SIGTERM', moment, took: await ending(process_) }
  })
})

test('SIGTERM ends kvm-accel run while it creates a machine with a FIFO as serial file', async t => {
  const fifo = join(scratch(), 'fifo')
  spawnSync('mkfifo', [fifo])
  const options = ['run', '-m', '16M', '-nodefaults', '-serial', `file:${fifo}`, '-kernel', busyGuestFile()]
  const process_ = start(process.execPath, [cli, ...options])
  await sleep(500)
  // The process may also have refused the file.
  process_.child.kill('SIGTERM')
  const took = await ending(process_)
  t.true(took <= BOUND, `SIGTERM took ${took} ms`)
})
