import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Machine, guestImage, type BalloonStatistics, type MachineOptions } from 'kvm-accel'
import { linuxGuest } from '../helpers/linux-guest.js'
import { kvm, linux, requires } from '../helpers/requires.js'

const test = requires(kvm, linux)
const small = requires(kvm)

const MIB = 2 ** 20

/** Memory that the host allocates completely at the start. */
const memory = (backend: 'anonymous' | 'memfd', size = '128M') => ({ size, backend, prealloc: true }) as const

const guest = (options: Partial<MachineOptions>, script = 'cat'): MachineOptions => ({
  ...linuxGuest(`echo ready:\n${script}`),
  noReboot: false,
  ...options,
})

async function printed(machine: Machine, what: string): Promise<void> {
  let text = ''
  for await (const chunk of machine.serial.iterator({ destroyOnReturn: false })) {
    text += String(chunk)
    if (text.includes(what)) return
  }
  throw new Error(text)
}

/** Waits until a condition holds. */
async function until(what: () => boolean): Promise<void> {
  while (!what()) await sleep(50)
}

const resident = (): number => process.memoryUsage.rss()

for (const backend of ['anonymous', 'memfd'] as const) {
  test(`Linux returns memory to the host and takes it back: ${backend}`, async t => {
    t.timeout(600_000)
    await using machine = await Machine.create(guest({ memory: memory(backend), balloon: { statisticsInterval: 100 } }))
    t.is(machine.balloon.actual, 128 * MIB)
    t.is(machine.balloon.statistics(), null)
    await machine.start()
    await printed(machine, 'ready:')

    const before = resident()
    const counted = async (what: (statistics: BalloonStatistics) => boolean): Promise<BalloonStatistics> => {
      await until(() => what(machine.balloon.statistics() ?? { time: new Date(0) }))
      return machine.balloon.statistics() as BalloonStatistics
    }
    const { totalMemory = 0, time } = await counted(({ freeMemory = 0 }) => freeMemory > 60 * MIB)
    t.true(totalMemory > 90 * MIB && totalMemory < 128 * MIB, `${totalMemory}`)

    // Each change emits an event.
    const changed = once(machine.balloon, 'change')
    machine.balloon.resize('64M')
    const [first] = (await changed) as [number]
    t.true(first < 128 * MIB && first >= 64 * MIB, `${first}`)
    await until(() => machine.balloon.actual === 64 * MIB)
    const fallen = before - resident()
    t.true(fallen > 48 * MIB, `the process has ${fallen} bytes less of 64 MiB`)
    // Earlier statistics may be from before the change.
    const later = await counted(statistics => totalMemory - (statistics.totalMemory ?? totalMemory) > 60 * MIB)
    t.true(later.time > time)

    machine.balloon.resize(96 * MIB)
    await until(() => machine.balloon.actual === 96 * MIB)

    // A reset empties the balloon, and the requested size stays.
    await machine.reset()
    t.is(machine.balloon.actual, 128 * MIB)
    await printed(machine, 'ready:')
    await until(() => machine.balloon.actual === 96 * MIB)
    await machine.stop()
    t.throws(() => machine.balloon.actual, { code: 'ERR_MACHINE_STATE' })
    t.throws(() => machine.balloon.resize('64M'), { code: 'ERR_MACHINE_STATE' })
    t.throws(() => machine.balloon.statistics(), { code: 'ERR_MACHINE_STATE' })
  })
}

test('a Linux guest that runs out of memory takes pages back from the balloon', async t => {
  t.timeout(600_000)
  const script = 'read line; dd if=/dev/zero of=/fill bs=1M count=16; echo done:; cat'
  await using machine = await Machine.create(guest({ memory: '64M', balloon: { deflateOnOom: true } }, script))
  machine.balloon.resize('24M')
  await machine.start()
  await printed(machine, 'ready:')
  await until(() => machine.balloon.actual === 24 * MIB)
  machine.serial.write('\n')
  await printed(machine, 'done:')
  t.true(machine.balloon.actual > 26 * MIB, `${machine.balloon.actual}`)
})

// Linux 6.1 reports nothing unless 128 MiB are free.
test('Linux reports free pages without a request, and the process shrinks', async t => {
  t.timeout(600_000)
  await using machine = await Machine.create(
    guest({ memory: memory('anonymous', '320M'), balloon: { freePageReporting: true } }),
  )
  const before = resident()
  await machine.start()
  await printed(machine, 'ready:')
  await until(() => before - resident() > 200 * MIB)
  t.is(machine.balloon.actual, 320 * MIB)
  t.not(machine.balloon.statistics(), null, 'as the driver started')
})

small('resize() fails without a balloon and with an invalid size', async t => {
  await using without = await Machine.create({ kernel: guestImage('hello') })
  for (const use of [
    () => without.balloon.actual,
    () => without.balloon.statistics(),
    () => without.balloon.resize('64M'),
  ]) {
    t.throws(use, { code: 'ERR_MACHINE_CONFIG', message: /no balloon/ })
  }
  await using machine = await Machine.create({ kernel: guestImage('hello'), memory: '16M', balloon: true })
  for (const size of [0, -4096, 4095, 16 * MIB + 1, 1.5, NaN, '17M', '', 'much', '1E']) {
    t.throws(() => machine.balloon.resize(size), { code: 'ERR_ARGUMENT', message: /from 4096 bytes to .*16M/ })
  }
  for (const size of [4096, '16M', 16 * MIB]) machine.balloon.resize(size)
  t.is(machine.balloon.actual, 16 * MIB)
})
