// Moments in the lifecycle of a machine at which Node's event loop must not block. Each is measured
// beside the same load without a machine. As a process, `node moments.mjs NAME ROUNDS [LIMIT]`
// prints JSON: a list of rounds `{ control, machine, took }` in milliseconds. `control` and
// `machine` are the longest delays of the event loop. With LIMIT, the process ends after the first
// round whose machine delay exceeds the control's by at most LIMIT. Used by event-loop.test.ts and
// by the benchmark.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { Machine } from 'kvm-accel'
import { busyGuestFile, counters } from './busy-guest.mjs'
import { busyOptions, memoryFolder, sparse, startPeer } from './busy-machine.mjs'

const MIB = 2 ** 20
const GIB = 2 ** 30

/**
 * Milliseconds after which an AbortSignal aborts an operation that would otherwise wait forever.
 */
const PATIENCE = 300

/** Milliseconds of the control measurement. */
const CONTROL = 300

let folder
const place = name => join((folder ??= memoryFolder()), name)

let names = 0
const fresh = what => place(`${what}-${++names}`)

/**
 * Runs an action. Resolves with the longest delay of the event loop meanwhile and with the
 * duration, in milliseconds.
 */
const measured = async action => {
  const delays = monitorEventLoopDelay({ resolution: 1 })
  delays.enable()
  // The histogram measures a delay from one of its timers to the next, so the first timer must have
  // expired.
  await sleep(3)
  const start = performance.now()
  await action()
  const took = performance.now() - start
  await sleep(5)
  delays.disable()
  return { delay: delays.max / 1e6, took }
}

/**
 * Loads the host's processors as a vCPU and the worker of a device would. `beside` is the work of
 * the event loop meanwhile.
 */
const control = async (beside = () => sleep(CONTROL)) => {
  const spin =
    'const end = performance.now() + Number(require("node:worker_threads").workerData); while (performance.now() < end);'
  const workers = [0, 1].map(() => new Worker(spin, { eval: true, workerData: CONTROL + 100 }))
  await Promise.all(workers.map(worker => once(worker, 'online')))
  const { delay } = await measured(beside)
  await Promise.all(workers.map(worker => worker.terminate()))
  return delay
}

/**
 * Creates a machine and ends it. An error, an AbortError included, also completes the measurement.
 */
const created = async options => {
  try {
    const machine = await Machine.create({ ...options, signal: AbortSignal.timeout(PATIENCE) })
    await machine.stop()
  } catch {
    // Other tests check the error.
  }
}

/**
 * Returns options with the busy guest. Building the guest blocks for about 0.1 s. Called late,
 * because this module is also loaded on hosts without a compiler.
 */
const plain = () => ({ kernel: busyGuestFile(), memory: '16M', serial: 'null' })

/**
 * The control of a creation that copies bytes: copies as many bytes on the event loop. A scheduler
 * runs a busy thread later than an idle one, so the control must be busy, too.
 */
const copies = () => {
  const bytes = new Uint8Array(256 * MIB).fill(1)
  const copy = new Uint8Array(bytes.length).fill(2)
  return () => copyInPieces(bytes, copy)
}

const copyInPieces = async (bytes, copy) => {
  for (let at = 0; at < bytes.length; at += MIB) {
    copy.set(bytes.subarray(at, at + MIB), at)
    await turn()
  }
}

/**
 * Measures a creation. `prepare` returns the options, and may return resources to dispose of
 * afterwards.
 */
const creation = prepare => async () => {
  const { options, end = () => {} } = await prepare()
  const all = { ...plain(), ...options }
  return { run: () => created(all), end }
}

const fifo = options =>
  creation(() => {
    const path = fresh('fifo')
    spawnSync('mkfifo', [path])
    return { options: options(path) }
  })

/**
 * The program of a server that does not accept connections for half a minute, because it blocks its
 * event loop, and then ends.
 */
const unresponsive = path => `
  require('node:net').createServer().listen({ path: ${JSON.stringify(path)}, backlog: 1 }, () => {
    require('node:fs').writeSync(1, 'ready')
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30_000)
    process.exit()
  })`

/** Returns the path of a Unix socket whose backlog is full of clients. */
const fullSocket = async () => {
  const path = fresh('full')
  const server = spawn(process.execPath, ['-e', unresponsive(path)], { stdio: ['ignore', 'pipe', 'ignore'] })
  await once(server.stdout, 'data')
  const clients = []
  for (let full = false; !full;) {
    const client = connect(path)
    clients.push(client)
    full = await new Promise(resolve => client.once('connect', () => resolve(false)).once('error', () => resolve(true)))
  }
  const end = () => {
    clients.forEach(client => client.destroy())
    server.kill('SIGKILL')
  }
  return { path, end }
}

const full = options =>
  creation(async () => {
    const { path, end } = await fullSocket()
    return { options: options(path), end }
  })

/**
 * Runs a machine under load. `act` gets the machine and a function that reads its counters. Each
 * device is busy, and the disk runs the work of `append`.
 */
const running =
  (append, act, { disk = 4 * GIB, readOnly = false, network = true, ...more } = {}) =>
  async () => {
    const name = fresh('machine').slice(place('').length)
    const peer = network ? startPeer() : undefined
    const image = { path: sparse(fresh('disk'), disk), readOnly }
    const options = await busyOptions({ folder: place(''), name, disk: image, peer, append, ...more, serial: 'null' })
    const machine = await Machine.create(options)
    const ram = options.memory.path
    const seen = () => counters(ram)
    const until = async what => {
      while (!what(seen())) await sleep(2)
    }
    await machine.start()
    await until(({ starts }) => starts === 1)
    // Wait until the devices are busy.
    await sleep(50)
    return {
      run: () => act(machine, until, seen),
      end: async () => {
        await machine.stop()
        peer?.[Symbol.dispose]()
      },
    }
  }

const guestReset = async (machine, until) => {
  machine.serial.write('r')
  await until(({ starts }) => starts === 2)
}

const LARGE_READS = 'read=1048576 write=0 depth=4'
const MANY_READS = 'read=524288 write=0 depth=128'
const SMALL = 'read=64 write=64'

/**
 * The moments by name. `prepare` resolves with `run`, which is measured, and `end`. `missing`
 * returns the reason why this host cannot run the moment.
 *
 * @type {Record<string, { prepare: () => Promise<{ run: () => Promise<void>, end: () => unknown }>,
 * missing?: () => string | undefined }>}
 */
export const moments = {
  'create: a FIFO as serial file': { prepare: fifo(path => ({ serial: { file: path } })) },
  'create: a FIFO as console file': { prepare: fifo(path => ({ consoles: [{ target: { file: path } }] })) },
  'create: a FIFO as debug console file': { prepare: fifo(path => ({ debugConsole: { target: { file: path } } })) },
  'create: a FIFO as rng source': { prepare: fifo(path => ({ rng: { source: path } })) },
  'create: a FIFO as disk': { prepare: fifo(path => ({ disks: [{ path }] })) },
  'create: a FIFO as kernel': { prepare: fifo(path => ({ kernel: path })) },
  'create: a FIFO as initrd': { prepare: fifo(path => ({ initrd: path })) },
  'create: a FIFO as memory file': { prepare: fifo(path => ({ memory: { size: '16M', path } })) },
  'create: a network socket with a full backlog': {
    prepare: full(path => ({ networks: [{ backend: { stream: path } }] })),
  },
  'create: a serial socket with a full backlog': { prepare: full(path => ({ serial: { socket: path } })) },
  'create: preallocation of 1 GiB': {
    prepare: creation(() => ({ options: { memory: { size: '1G', prealloc: true } } })),
  },
  'create: an initrd file of 1 GiB': {
    prepare: creation(() => ({ options: { memory: '1536M', initrd: sparse(fresh('initrd'), GIB) } })),
  },
  'create: an initrd of 256 MiB in memory': {
    beside: copies,
    prepare: creation(() => ({ options: { memory: '512M', initrd: new Uint8Array(256 * MIB).fill(1) } })),
  },
  'create: passt': {
    missing: () =>
      spawnSync('passt', ['--version']).error ? 'passt is not installed (apt-get install passt)' : undefined,
    prepare: creation(() => ({ options: { networks: [{ backend: { user: true } }] } })),
  },
  'guest resets itself: 4 reads of 1 GiB in the queue': { prepare: running(LARGE_READS, guestReset) },
  'guest resets itself: 128 reads of 512 MiB in the queue': {
    prepare: running(MANY_READS, guestReset, { disk: GIB, readOnly: true }),
  },
  'guest resets itself: the network alone is busy': {
    prepare: running('read=0 write=0 console=0 rng=0 balloon=0', guestReset),
  },
  'guest resets itself: an initrd of 512 MiB': {
    prepare: async () => {
      const initrd = sparse(fresh('initrd'), 512 * MIB)
      const path = fresh('ram')
      const act = async (machine, until) => {
        const reset = once(machine, 'reset')
        machine.serial.write('r')
        await reset
        // The image may overlap the counters, which then start again from 0.
        await until(({ starts }) => starts > 0)
      }
      return running(SMALL, act, { initrd, memory: { size: '768M', path, share: true } })()
    },
  },
  'reset(): 4 reads of 1 GiB in the queue': {
    prepare: running(LARGE_READS, async (machine, until) => {
      await machine.reset()
      await until(({ starts }) => starts === 2)
    }),
  },
  'guest wakes from S3: 4 reads of 1 GiB in the queue': {
    prepare: running(LARGE_READS, async (machine, until) => {
      machine.serial.write('s')
      await until(({ wakes }) => wakes === 1)
    }),
  },
  'pause() and resume(): 4 reads of 1 GiB in the queue': {
    prepare: running(LARGE_READS, async (machine, until, seen) => {
      await machine.pause()
      const { loops } = seen()
      await machine.resume()
      await until(now => now.loops > loops)
    }),
  },
  'debug.step(): 4 reads of 1 GiB in the queue': {
    prepare: running(LARGE_READS, async machine => {
      await machine.pause()
      for (let step = 0; step < 10; step++) await machine.debug.step()
    }),
  },
  'debug.readMemory() of 512 MiB': {
    prepare: async () => {
      const path = fresh('ram')
      const act = async machine => {
        await machine.pause()
        await machine.debug.readMemory(0, 512 * MIB, { physical: true })
      }
      return running(SMALL, act, { memory: { size: '1G', path, share: true } })()
    },
  },
  'stop(): 4 reads of 1 GiB in the queue': { prepare: running(LARGE_READS, machine => machine.stop()) },
  'stop(): 128 reads of 512 MiB in the queue': {
    prepare: running(MANY_READS, machine => machine.stop(), { disk: GIB, readOnly: true }),
  },
  'dispose: every device busy': { prepare: running(SMALL, machine => machine[Symbol.asyncDispose]()) },
}

/**
 * Runs an action while another machine resets itself continuously. Resolves with the longest time
 * between two events of that machine, in milliseconds.
 */
const gap = async action => {
  const machine = await Machine.create({ ...plain(), append: 'after=20' })
  let longest = 0
  let last
  let count = 0
  machine.on('reset', () => {
    const now = performance.now()
    longest = Math.max(longest, now - (last ?? now))
    last = now
    count++
  })
  await machine.start()
  while (count < 5) await once(machine, 'reset')
  longest = 0
  const start = performance.now()
  await action()
  const took = performance.now() - start
  await once(machine, 'reset')
  await machine.stop()
  return { delay: longest, took }
}

/**
 * Runs an action while signals abort other machines, one every 50 ms. Resolves with the longest
 * time that one of them took to end, in milliseconds.
 */
const abort = async action => {
  const one = async (_, index) => {
    const controller = new AbortController()
    // The machine is not started, so that it uses no time of the host's processors.
    const machine = await Machine.create({ ...plain(), signal: controller.signal })
    return async () => {
      const time = 10 + 50 * index
      const start = performance.now()
      setTimeout(() => controller.abort(), time)
      await machine.wait()
      return performance.now() - start - time
    }
  }
  const machines = await Promise.all(Array.from({ length: 10 }, one))
  const start = performance.now()
  const [delays] = await Promise.all([Promise.all(machines.map(aborted => aborted())), action()])
  return { delay: Math.max(...delays), took: performance.now() - start }
}

const twoResets = running(LARGE_READS, async (machine, until) => {
  for (let starts = 2; starts <= 3; starts++) {
    machine.serial.write('r')
    await until(seen => seen.starts >= starts)
    // Wait until its reads are in the queue again.
    await sleep(20)
  }
})

/**
 * Moments of the neighbours of a machine that resets itself with four reads of 1 GiB in its queue:
 * the delay of their events. By name, as {@link moments}.
 */
export const neighbours = {
  'the events of another machine': { observe: gap, prepare: twoResets },
  'an AbortSignal of another machine': { observe: abort, prepare: twoResets },
}

/** Measures the rounds of a neighbour. The control is a busy machine that does not reset itself. */
const beside = async ({ observe, prepare }) => {
  const { run, end } = await prepare()
  const { delay: without } = await observe(() => sleep(CONTROL))
  const { delay, took } = await observe(run)
  await end()
  return { control: without, machine: delay, took }
}

const moment = async ({ prepare, beside }) => {
  const without = await control(beside?.())
  const { run, end } = await prepare()
  const { delay, took } = await measured(run)
  await end()
  return { control: without, machine: delay, took }
}

/** Measures rounds of a moment, until one exceeds its control by at most `limit`. */
const measure = async (name, rounds, limit) => {
  const results = []
  for (let round = 0; round < rounds; round++) {
    const result = await (moments[name] ? moment(moments[name]) : beside(neighbours[name]))
    results.push(result)
    if (limit !== undefined && result.machine <= result.control + limit) break
  }
  return results
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [name, rounds, limit] = process.argv.slice(2)
  const results = await measure(name, Number(rounds), limit === undefined ? undefined : Number(limit))
  process.stdout.write(JSON.stringify(results))
  process.exit()
}
