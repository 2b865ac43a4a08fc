// A process of abort.test.ts. Ends busy machines at random moments of their lifecycles, and looks
// for leaked resources. The argument is JSON: `{ seed, kinds, count }`. Prints JSON, with times in
// milliseconds: `{ load, control, ends: [{ kind, moment, took, left }] }`. `load` is the ratio of
// the time of a loop to its time on an idle host. `control` is the time of an end without a
// machine. A machine that leaks a resource ends the run.

import { readFileSync, readdirSync, readlinkSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { Machine } from 'kvm-accel'
import { busyOptions, memoryFolder, sparse, startPeer } from './busy-machine.mjs'
import { live } from './busy-life.mjs'
import { median, watchLoad } from './load.mjs'
import { random } from './random.mjs'

const { seed, kinds, count } = JSON.parse(process.argv[2])

/**
 * The latest moment, counted from the call of Machine.create(). On an idle host, a machine of this
 * kind runs after 20 ms.
 */
const LATEST = 150
/** Milliseconds after which a leftover resource counts as leaked. */
const PATIENCE = 4000

const folder = memoryFolder()
const peer = startPeer({ interval: 2 })

const names = () =>
  readdirSync('/proc/self/task').flatMap(id => {
    try {
      return [readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim()]
    } catch {
      return []
    }
  })

const files = () =>
  readdirSync('/proc/self/fd').flatMap(id => {
    try {
      return [readlinkSync(`/proc/self/fd/${id}`)]
    } catch {
      return []
    }
  })

/** Returns the threads of machines, and the descriptors that only a machine has. */
const left = before => [
  ...names().filter(name => !before.has(name)),
  ...files().filter(file => /kvm-vm|kvm-vcpu|io_uring/.test(file) || file.startsWith(folder)),
]

const ends = {
  signal: async (options, life, moment) => {
    const controller = new AbortController()
    const lived = live({ ...options, signal: controller.signal }, life)
    await sleep(moment)
    controller.abort()
    return lived
  },
  stop: async (options, life, moment) => {
    let machine
    const born = new Promise(resolve => void live(options, life, created => resolve((machine = created))))
    await sleep(moment)
    // A machine can be stopped only after it has been created.
    machine ??= await born
    await machine.stop()
  },
  dispose: async (options, life, moment) => {
    let machine
    const born = new Promise(resolve => void live(options, life, created => resolve((machine = created))))
    await sleep(moment)
    machine ??= await born
    await machine[Symbol.asyncDispose]()
  },
  terminate: async (options, life, moment, begun) => {
    const worker = new Worker(new URL('busy-life.mjs', import.meta.url), { workerData: { options, seed: life } })
    await new Promise(resolve => worker.once('message', resolve))
    begun()
    await sleep(moment)
    await worker.terminate()
  },
}

const warm = await Machine.create({ kernel: process.env['KVM_ACCEL_BUSY_GUEST'], memory: '16M' })
await warm.stop()
await sleep(100)
const before = new Set(names())

/** The times that the end of a worker without a machine takes. */
const emptyWorkers = []
if (kinds.includes('terminate')) {
  for (let round = 0; round < 5; round++) {
    const worker = new Worker('setInterval(() => {}, 1000)', { eval: true })
    await new Promise(resolve => worker.once('online', resolve))
    await sleep(20)
    const start = performance.now()
    await worker.terminate()
    emptyWorkers.push(performance.now() - start)
  }
}
const control = median(emptyWorkers) ?? 0

const load = watchLoad()
const next = random(seed)
const results = []
for (let round = 0; round < count; round++) {
  const kind = kinds[round % kinds.length]
  const moment = next() * LATEST
  load.look()
  const disk = sparse(join(folder, `disk-${round}`), 2 ** 32)
  const append = round % 2 === 0 ? 'read=1048576 write=0 depth=4' : 'read=8192 write=1024'
  const options = await busyOptions({ folder, name: `m${round}`, disk, peer, append, serial: 'null' })
  let started = performance.now()
  /**
   * Called when the worker has started: the moment of a machine in a worker is counted from then.
   */
  const begun = () => (started = performance.now())
  // A late event loop counts as part of the time.
  const done = ends[kind](options, Math.floor(next() * 2 ** 31), moment, begun)
  let settled = false
  void done.then(() => (settled = true))
  await sleep(moment)
  let remains = left(before)
  while ((remains.length > 0 || !settled) && performance.now() - started < moment + PATIENCE) {
    await sleep(2)
    remains = left(before)
  }
  const took = performance.now() - started - moment
  results.push({ kind, moment, took, left: settled ? remains : [...remains, `${kind} has not settled`] })
  if (remains.length > 0 || !settled) break
  for (const file of [disk, options.memory.path]) rmSync(file, { force: true })
}
process.stdout.write(JSON.stringify({ load: load.factor(), control, ends: results }), () => process.exit())
