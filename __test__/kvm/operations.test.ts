// The reported run state is the actual one, for every sequence of operations, also from listeners
// and callbacks, and for every behaviour of the guest. KVM_ACCEL_SEED and KVM_ACCEL_TEST_RUNS
// select other sequences and their number.

import type { ExecutionContext } from 'ava'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MachineEventMap } from 'kvm-accel'
import { NEVER, ObservedGuest, soon } from '../helpers/observer.js'
import fc from '../helpers/random.js'
import { compiler, kvm, requires } from '../helpers/requires.js'
import { seed } from '../helpers/seed.js'

const test = requires(kvm, compiler)

const idle = 'disk=0 rng=0 balloon=0 console=0'

const started = async (options = {}): Promise<ObservedGuest> => {
  const guest = await ObservedGuest.create({ append: idle, ...options })
  await guest.machine.start()
  await guest.until(({ starts }) => starts === 1, 'the start')
  return guest
}

/** Lets the guest power off, and checks the exit. */
const endsByItself = async (t: ExecutionContext, guest: ObservedGuest): Promise<void> => {
  await guest.machine.resume()
  guest.command('o')
  t.deepEqual(await soon(guest.machine.wait(), 'wait()'), { reason: 'guest-shutdown' })
  t.is(guest.machine.state, 'shutdown')
}

test('pause() in a listener of the guest’s reset pauses, and the machine handles the guest’s later exits', async t => {
  await using guest = await started()
  const paused = new Promise<void>((resolve, reject) => {
    guest.machine.once('reset', () => void guest.machine.pause().then(resolve, reject))
  })
  guest.command('r')
  await soon(paused, 'pause()')
  t.is(guest.machine.state, 'paused')
  t.deepEqual(await guest.inconsistencies(), [])
  await endsByItself(t, guest)
})

test('pause() in a listener of the host’s reset pauses', async t => {
  await using guest = await started()
  const paused = new Promise<void>((resolve, reject) => {
    guest.machine.once('reset', () => void guest.machine.pause().then(resolve, reject))
  })
  await soon(guest.machine.reset(), 'reset()')
  await soon(paused, 'pause()')
  t.is(guest.machine.state, 'paused')
  t.deepEqual(await guest.inconsistencies(), [])
  await endsByItself(t, guest)
})

test('reset() and pause() at once reset and then pause', async t => {
  await using guest = await started()
  const { machine } = guest
  await soon(Promise.all([machine.reset(), machine.pause()]), 'reset() and pause()')
  t.is(machine.state, 'paused')
  t.is(guest.count('reset'), 1)
  t.deepEqual(await guest.inconsistencies(), [])
  await endsByItself(t, guest)
  t.is(guest.counters().starts, 2)
})

test('pause() and reset() at once pause and then reset', async t => {
  await using guest = await started()
  const { machine } = guest
  await soon(Promise.all([machine.pause(), machine.reset()]), 'pause() and reset()')
  t.is(machine.state, 'prelaunch')
  t.deepEqual(guest.events.slice(-2), ['stop paused', 'reset'])
  t.deepEqual(await guest.inconsistencies(), [])
  await endsByItself(t, guest)
  t.is(guest.counters().starts, 2)
})

test('pause() and resume() at once leave the guest running', async t => {
  await using guest = await started()
  const { machine } = guest
  await soon(Promise.all([machine.pause(), machine.resume()]), 'pause() and resume()')
  t.is(machine.state, 'running')
  t.deepEqual(guest.events, ['resume', 'stop paused', 'resume'])
  t.deepEqual(await guest.inconsistencies(), [])
})

test('stop() ends a machine from inside each of its events, and wait() resolves', async t => {
  const causes = {
    reset: guest => guest.command('r'),
    resume: () => {},
    stop: guest => void guest.machine.pause(),
    notify: guest => void guest.machine.injectNotify(),
    debug: guest => void guest.machine.pause().then(() => guest.machine.debug.step()),
  } satisfies Partial<Record<keyof MachineEventMap, (guest: ObservedGuest) => unknown>>
  for (const [event, cause] of Object.entries(causes) as [keyof typeof causes, (guest: ObservedGuest) => unknown][]) {
    const guest = await ObservedGuest.create({ append: idle })
    const { machine } = guest
    const stopped = new Promise<void>((resolve, reject) => {
      machine.once(event, () => void machine.stop().then(resolve, reject))
    })
    await machine.start()
    await cause(guest)
    await soon(stopped, `stop() in a listener of '${event}'`)
    t.deepEqual(await soon(machine.wait(), 'wait()'), { reason: 'host-quit' }, event)
    t.deepEqual(await guest.inconsistencies(), [], event)
  }
})

test('pause() in a device callback pauses the guest after its access', async t => {
  await using guest = await ObservedGuest.create({ append: `${idle} port=1` })
  const { machine } = guest
  let pausing: Promise<void> | undefined
  await machine.addDevice({
    pio: [0x550, 4],
    write: async () => {
      pausing ??= machine.pause()
      await pausing
    },
  })
  const stopped = new Promise<void>(resolve => machine.once('stop', () => resolve()))
  await machine.start()
  await soon(stopped, 'the stop')
  t.is(machine.state, 'paused')
  t.deepEqual(await guest.inconsistencies(), [])
  await machine.resume()
  t.deepEqual(await guest.inconsistencies(), [])
})

test('a guest in S3 stays asleep during pause() and after resume()', async t => {
  await using guest = await started()
  const { machine } = guest
  guest.command('z')
  await guest.until(({ sleeps }) => sleeps === 1, 'the sleep')
  await machine.pause()
  t.is(machine.state, 'paused')
  t.true(await guest.still())
  await machine.resume()
  t.is(machine.state, 'running')
  t.true(await guest.still(200), 'it has no alarm')
  t.is(guest.counters().wakes, 0)
  // A reset ends the sleep.
  await soon(machine.reset(), 'reset()')
  await guest.until(({ starts }) => starts === 2, 'the start after the reset')
  t.deepEqual(await guest.inconsistencies(), [])
})

test('a guest that wakes up continues, and a pause in the meantime stays in effect', async t => {
  await using guest = await started()
  const { machine } = guest
  guest.command('s')
  await guest.until(({ wakes }) => wakes === 1, 'the alarm')
  t.deepEqual(await guest.inconsistencies(), [])
  guest.command('s')
  await guest.until(({ sleeps }) => sleeps === 2, 'the second sleep')
  await machine.pause()
  const { wakes } = guest.counters()
  // Longer than the time until the alarm.
  await sleep(1200)
  t.is(guest.counters().wakes, wakes)
  await machine.resume()
  await guest.until(now => now.wakes === 2, 'the second alarm')
})

test('wait() resolves after stop() in every run state', async t => {
  const states: Record<string, (guest: ObservedGuest) => Promise<unknown>> = {
    prelaunch: async () => {},
    running: guest => guest.machine.start(),
    paused: async guest => {
      await guest.machine.start()
      await guest.machine.pause()
    },
    debug: guest => guest.machine.debug.step(),
    'internal-error': async guest => {
      await guest.machine.start()
      guest.command('x')
      await guest.machine.wait()
    },
    shutdown: async guest => {
      await guest.machine.start()
      guest.command('o')
      await guest.machine.wait()
    },
    'guest-panicked': async guest => {
      await guest.machine.start()
      guest.command('p')
      await guest.machine.wait()
    },
  }
  for (const [state, reach] of Object.entries(states)) {
    const guest = await ObservedGuest.create({ append: idle, noShutdown: true, pvpanic: true })
    await soon(reach(guest), state)
    t.is(guest.machine.state, state as never)
    t.deepEqual(await guest.inconsistencies(), [], state)
    await soon(guest.machine.stop(), `stop() in state '${state}'`)
    t.truthy(await soon(guest.machine.wait(), `wait() after state '${state}'`))
    t.is(guest.machine.state, 'shutdown')
    t.deepEqual(await guest.inconsistencies(), [], state)
  }
})

/** The operations on a machine, by name. Each resolves with the errors in its result. */
type Ask = (guest: ObservedGuest) => Promise<string | undefined>

/** Checks that a fulfilled operation had its effect: an event since the call. */
const causes =
  (what: (guest: ObservedGuest) => Promise<unknown>, event: RegExp): Ask =>
  async guest => {
    const before = guest.events.length
    await what(guest)
    const since = guest.events.slice(before)
    return since.some(name => event.test(name)) ? undefined : `no event ${event} since the call: ${since.join(', ')}`
  }

let latch = 0n

const asks: Record<string, Ask> = {
  start: causes(({ machine }) => machine.start(), /^resume/),
  pause: causes(({ machine }) => machine.pause(), /^stop/),
  resume: causes(({ machine }) => machine.resume(), /^resume/),
  reset: causes(({ machine }) => machine.reset(), /^reset$/),
  step: causes(({ machine }) => machine.debug.step(), /^resume/),
  setState: async guest => {
    const [vcpu] = guest.machine.vcpus
    const before = guest.events.length
    const cr2 = ++latch * 4096n
    await vcpu?.setState({ control: { cr2 } })
    const state = await vcpu?.state()
    // Another operation may have run the guest, reset it, or changed the register meanwhile.
    const undisturbed = guest.events.length === before && latch * 4096n === cr2
    return undisturbed && state?.control.cr2 !== cr2
      ? `setState() had no effect: cr2 is ${state?.control.cr2}`
      : undefined
  },
  injectNmi: async ({ machine }) => void (await machine.injectNmi()),
  injectNotify: async ({ machine }) => void (await machine.injectNotify()),
  'dirtyLog.start': async ({ machine }) => void (await machine.dirtyLog.start()),
  'dirtyLog.take': async ({ machine }) => {
    const { pages } = await machine.dirtyLog.take()
    return pages >= 0 ? undefined : 'dirtyLog.take() gave no pages'
  },
  'dirtyLog.stop': async ({ machine }) => void (await machine.dirtyLog.stop()),
  addDevice: async ({ machine }) => void (await machine.addDevice({ pio: [0x550, 4], write: () => {} })),
  'balloon.resize': async ({ machine }) => void (await machine.balloon.resize('8M')),
  stop: async guest => {
    await guest.machine.stop()
    return guest.machine.state === 'shutdown' ? undefined : `the state after stop() is '${guest.machine.state}'`
  },
}

/** The allowed errors of an operation: the state forbids it, the port has a device, or 64 injections wait. */
const refusals = /^(ERR_MACHINE_STATE|ERR_MACHINE_CONFIG|ERR_OUT_OF_RANGE)$/

const operation = fc.constantFrom(
  ...['start', 'start', 'pause', 'pause', 'pause', 'resume', 'resume', 'resume', 'reset', 'reset', 'step', 'setState'],
  ...['injectNmi', 'injectNotify', 'dirtyLog.start', 'dirtyLog.take', 'dirtyLog.stop', 'addDevice', 'balloon.resize'],
  'stop',
)

const events = ['resume', 'stop', 'reset', 'notify', 'debug'] as const

const scenario = fc.record({
  /** The actions of the guest itself, after a number of loops from each start. */
  guest: fc.record({
    act: fc.constantFrom('', '', 'r', 'o', 't', 'p', 'x', 's', 'z', 'd'),
    after: fc.integer({ min: 1, max: 400 }),
  }),
  noReboot: fc.boolean(),
  noShutdown: fc.boolean(),
  cpus: fc.constantFrom(1, 1, 2),
  begins: fc.boolean(),
  steps: fc.array(fc.record({ operation, awaited: fc.boolean(), pause: fc.integer({ min: 0, max: 8 }) }), {
    minLength: 1,
    maxLength: 14,
  }),
  /** The operations of listeners, at the first occurrence of their event. */
  listeners: fc.array(fc.record({ event: fc.constantFrom(...events), operation }), { maxLength: 3 }),
  /** The operations of a device's callback at the first access. */
  callback: fc.option(operation),
  stops: fc.boolean(),
})

type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never

/**
 * Returns the errors in the dirty log of a running guest. A callback, which is called once, may end
 * the log meanwhile.
 */
const dirties = async (guest: ObservedGuest): Promise<readonly string[]> => {
  const { dirtyLog } = guest.machine
  for (let last = false; ; last = true) {
    try {
      await soon(dirtyLog.start(), 'dirtyLog.start()')
      await guest.progresses()
      const { pages } = await soon(dirtyLog.take(), 'dirtyLog.take()')
      return pages === 0 ? ['the dirty log of a running guest is empty'] : []
    } catch (error) {
      const { message } = error as Error
      // A listener or a callback has called stop(); the end follows.
      if (message.includes('the machine has ended')) return []
      if (last || !message.includes('no pages are recorded')) return [`the dirty log of a running guest: ${message}`]
    }
  }
}

/** Returns the errors of a machine that reports that it runs, unless its guest ends meanwhile. */
const alive = async (guest: ObservedGuest, injected: number): Promise<readonly string[]> => {
  const { machine } = guest
  const wrong: string[] = []
  if (!(await guest.progresses())) wrong.push("the guest does not run in state 'running'")
  // A reset discards the injections that a vCPU has not taken.
  if (!guest.events.some(event => event.startsWith('reset'))) {
    for (const end = performance.now() + NEVER; performance.now() < end; await sleep(2)) {
      if (guest.count('notify') === injected || machine.state !== 'running') break
    }
    if (guest.count('notify') !== injected) {
      wrong.push(`${guest.count('notify')} of ${injected} injectNotify() were taken`)
    }
  }
  wrong.push(...(await dirties(guest)))
  return machine.state === 'running' ? wrong : []
}

/** Runs a scenario to its end. Returns the errors. */
const play = async ({
  guest: { act, after },
  begins,
  steps,
  listeners,
  callback,
  stops,
  ...policy
}: Scenario): Promise<readonly string[]> => {
  const append = `read=8 write=8 depth=2 port=1 ${act === '' ? '' : `after=${after} act=${act.charCodeAt(0)}`}`
  const guest = await ObservedGuest.create({
    append,
    rng: true,
    balloon: true,
    pvpanic: true,
    debugExit: { iobase: 0xf4, iosize: 4 },
    ...policy,
  })
  const { machine } = guest
  const wrong: string[] = []
  const asked: Promise<void>[] = []
  const asleep: Promise<unknown>[] = []
  const sleeping = act === 'z' || act === 's'
  const resets = { fulfilled: 0, asked: 0 }
  let injected = 0
  const ask = (name: string, where: string): Promise<void> => {
    const one = (async () => {
      if (name === 'reset') resets.asked++
      try {
        const done = asks[name]!(guest)
        // A step of a vCPU that sleeps or is halted lasts until an event wakes it, or the machine pauses or ends.
        if (name === 'step' && sleeping) return void asleep.push(done.catch(() => undefined))
        const problem = await soon(done, `${name}() ${where}`)
        if (name === 'injectNotify') injected++
        if (name === 'reset' && where !== 'in a callback') resets.fulfilled++
        // In a callback pause() and reset() are fulfilled before their effect: the vCPU waits for the callback.
        if (problem !== undefined && where !== 'in a callback') wrong.push(`${name}() ${where}: ${problem}`)
      } catch (error) {
        const { code, name: kind, message } = error as Error & { code?: string }
        if (!refusals.test(code ?? '') && kind !== 'ArgumentError')
          wrong.push(`${name}() ${where}: ${kind}: ${message}`)
      }
    })()
    asked.push(one)
    return one
  }
  for (const { event, operation } of listeners) {
    machine.once(event, () => void ask(operation, `in a listener of '${event}'`))
  }
  if (callback !== null) {
    let called = false
    await machine.addDevice({
      pio: [0x550, 4],
      write: () => {
        if (!called) void ask(callback, 'in a callback')
        called = true
      },
    })
  }
  if (begins) await ask('start', 'at first')
  for (const { operation, awaited, pause } of steps) {
    const done = ask(operation, awaited ? 'awaited' : 'not awaited')
    if (awaited) await done
    if (pause > 0) await sleep(pause)
  }
  // Listeners may start further operations while these settle.
  for (let count = 0; count < asked.length;) {
    count = asked.length
    await Promise.all(asked)
    await sleep(1)
  }
  // A guest that resets itself or sleeps does not change the run state. A guest that ends does.
  const resetting = act === 'r' || act === 't'
  if (machine.state !== 'running') {
    await sleep(5)
    if (!(await guest.still())) wrong.push(`the guest runs in state '${machine.state}'`)
  } else if (!sleeping) {
    wrong.push(...(await alive(guest, injected)))
  }
  if (guest.reported !== machine.state)
    wrong.push(`the machine reports '${machine.state}', its events reported '${guest.reported}'`)
  if (guest.count('reset') < resets.fulfilled) {
    wrong.push(`${resets.fulfilled} reset() were fulfilled, and ${guest.count('reset')} have happened`)
  }
  if (guest.count('reset') > resets.asked)
    wrong.push(`${guest.count('reset')} resets of the ${resets.asked} that were requested`)
  if (!resetting && guest.count('reset by the guest') > 0 && act !== '') wrong.push('the guest has not reset itself')
  wrong.push(...guest.contradictions)
  const end = machine.wait()
  if (stops || machine.state !== 'running') {
    await soon(machine.stop(), 'stop()').catch((error: Error) => wrong.push(error.message))
  } else {
    await soon(machine[Symbol.asyncDispose](), 'dispose').catch((error: Error) => wrong.push(error.message))
  }
  await soon(Promise.all(asleep), 'step() of a vCPU that sleeps').catch((error: Error) => wrong.push(error.message))
  await soon(end, 'wait()').catch((error: Error) => wrong.push(error.message))
  if (machine.state !== 'shutdown') wrong.push(`the state after the end is '${machine.state}'`)
  if (!(await guest.still())) wrong.push('the guest runs after the end')
  guest.removeFile()
  return wrong.length === 0 ? [] : [...wrong, `events: ${guest.events.join(', ')}`]
}

test('random operations, interleaved and from events and callbacks: the reported run state is the actual one', async t => {
  t.timeout(300_000)
  const numRuns = Number(process.env['KVM_ACCEL_TEST_RUNS'] ?? 100)
  const property = fc.asyncProperty(scenario, async example => {
    const wrong = await play(example)
    if (wrong.length > 0) throw new Error(wrong.join('\n'))
  })
  // No shrinking: it would run each failure many times, and a race may not occur again. The test
  // prints the whole scenario.
  const details = await fc.check(property, { numRuns, seed: seed(t), endOnFailure: true })
  const problem = details.errorInstance instanceof Error ? details.errorInstance.message : ''
  const report = details.failed ? `${problem}\n${fc.defaultReportMessage(details)}` : undefined
  t.is(report, undefined, `it failed after ${details.numRuns} of ${numRuns} sequences; a promise is given ${NEVER} ms`)
})
