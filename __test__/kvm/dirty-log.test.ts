import type { ExecutionContext } from 'ava'
import { once } from 'node:events'
import { join } from 'node:path'
import {
  AccelPropertyError,
  Machine,
  MachineStateError,
  guestImage,
  type AccelOptions,
  type DirtyPages,
} from 'kvm-accel'
import { interpose } from '../helpers/interpose.js'
import { kvm, preload, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'
import { root } from '../helpers/paths.js'

const test = requires(kvm)
const interposed = requires(kvm, preload)

const MIB = 1 << 20

const make = (accel: AccelOptions = {}, append = 'wait=1', memory = '16M'): Promise<Machine> =>
  Machine.create({
    accel,
    kernel: guestImage('dirty'),
    memory,
    cpus: 2,
    append,
    serial: 'stream',
    noReboot: true,
  })

/** Waits for a line of the guest. */
const line = async (machine: Machine, text: string): Promise<void> => {
  let seen = ''
  while (!seen.includes(text)) seen += String((await once(machine.serial, 'data'))[0])
}

/** The pages that the guest wrote by its options. */
const written = (pages: DirtyPages): number[] =>
  [...pages]
    .flatMap(({ start, length }) => Array.from({ length: length / 4096 }, (_, index) => start + index * 4096))
    .filter(address => address >= 4 * MIB && address < 8 * MIB)

const seen = async (t: ExecutionContext, accel: AccelOptions): Promise<number[]> => {
  await using machine = await make(accel, 'wait=1 cpus=2 count=100')
  await machine.dirtyLog.start()
  await machine.start()
  await line(machine, 'written')
  const pages = await machine.dirtyLog.take()
  const addresses = written(pages)
  for (const address of addresses) t.true(pages.has(address) && pages.has(address + 4095), String(address))
  t.false(pages.has(15 * MIB))
  t.is(
    [...pages].reduce((sum, { length }) => sum + length / 4096, 0),
    pages.pages,
  )
  t.is(written(await machine.dirtyLog.take()).length, 0, 'taken pages are clean')
  return addresses
}

test('rings and bitmap see the same pages', async t => {
  const bitmap = await seen(t, {})
  t.true(bitmap.length > 100)
  t.deepEqual(await seen(t, { dirtyRingSize: 4096 }), bitmap)
})

test('with rings, rates() shows which vCPU wrote', async t => {
  await using machine = await make({ dirtyRingSize: 4096 }, 'wait=1 cpus=2 count=100')
  await machine.dirtyLog.start()
  await machine.start()
  await line(machine, 'written')
  const rates = await machine.dirtyLog.rates()
  t.is(rates.length, 2)
  for (const { pages, bytesPerSecond } of rates) t.true(pages > 50 && bytesPerSecond > 0, JSON.stringify(rates))
  await using other = await make()
  await other.dirtyLog.start()
  t.deepEqual(await other.dirtyLog.rates(), [])
})

test('a ring that is full stops its vCPU until the ring is empty', async t => {
  // A page is recorded only at its first write in a round, so the guest writes ten times as many
  // pages as the ring has entries.
  await using machine = await make({ dirtyRingSize: 1024 }, 'cpus=2 count=20000 end=60', '64M')
  const trace = machine.trace('kvm_dirty_ring_*', { limit: 100_000 })
  await machine.dirtyLog.start()
  await machine.start()
  await machine.wait()
  const names = new Set<string>()
  const { pages } = await machine.dirtyLog.take().catch(() => ({ pages: -1 }))
  t.is(pages, -1, 'the machine has ended')
  for await (const record of trace) names.add(record.event)
  t.true(names.has('kvm_dirty_ring_full'), [...names].join())
})

test('after a reset every page is dirty; after stop() the log is not read', async t => {
  await using machine = await make()
  await machine.dirtyLog.start()
  await machine.reset()
  const all = await machine.dirtyLog.take()
  t.deepEqual([...all], [{ start: 0, length: 16 * MIB }])
  await machine.dirtyLog.stop()
  await t.throwsAsync(machine.dirtyLog.take(), { instanceOf: MachineStateError, message: /start\(\)|no page/ })
})

test('a log that was not started and a machine that has ended are different errors', async t => {
  const machine = await make()
  await t.throwsAsync(machine.dirtyLog.take(), { instanceOf: MachineStateError, message: /no pages are recorded/ })
  await t.throwsAsync(() => machine.dirtyLog.rates(), { instanceOf: MachineStateError })
  await machine.dirtyLog.start()
  const late = machine.dirtyLog.take()
  const stopped = machine.stop()
  await Promise.race([late.catch(() => {}), stopped])
  await stopped
  await t.throwsAsync(() => machine.dirtyLog.start(), { instanceOf: MachineStateError, message: /has ended/ })
  await t.throwsAsync(machine.dirtyLog.take(), { instanceOf: MachineStateError, message: /has ended/ })
})

for (const [size, message] of [
  [128, /rejected by the kernel.*1024/],
  [131_072, /too large.*65536/],
] as const) {
  test(`dirty-ring-size=${size} is refused with the kernel’s limits`, async t => {
    const error = await t.throwsAsync(make({ dirtyRingSize: size }), { instanceOf: AccelPropertyError, message })
    t.is(error?.property, 'dirty-ring-size')
  })
}

/** Runs a machine in a process under the interposer's rules. Returns what it printed. */
const under = async (rules: string, accel: string): Promise<{ stdout: string; names: string[] }> => {
  const { env, calls } = interpose(rules)
  const script = join(root, '__test__/helpers/dirty-log.mjs')
  const { status, stdout, stderr } = await run(process.execPath, [script, accel], { env })
  if (status !== 0) throw new Error(stderr)
  return { stdout, names: calls().map(({ ioctl }) => ioctl) }
}

interposed('a kernel without manual protection, and one that refuses it, give the same pages', async t => {
  const usual = await under('', 'kvm')
  t.true(usual.names.includes('KVM_CLEAR_DIRTY_LOG'))
  t.regex(usual.stdout, /^\d{3} pages, warnings: $/)
  const without = await under('cap:168=0', 'kvm')
  t.false(without.names.includes('KVM_CLEAR_DIRTY_LOG'))
  t.is(without.stdout, usual.stdout)
  const refused = await under('fail:KVM_ENABLE_CAP,cap=168,errno=EINVAL', 'kvm')
  t.false(refused.names.includes('KVM_CLEAR_DIRTY_LOG'))
  t.is(refused.stdout, `${usual.stdout}MANUAL_PROTECT_FAILED`)
})

interposed('a kernel without rings falls back to the bitmap with a warning', async t => {
  const { stdout, names } = await under('cap:192=0;cap:223=0', 'kvm,dirty-ring-size=4096')
  t.regex(stdout, /warnings: DIRTY_RING_UNSUPPORTED$/)
  t.true(names.includes('KVM_GET_DIRTY_LOG'))
  t.false(names.includes('KVM_RESET_DIRTY_RINGS'))
})

interposed('an error during take() loses no page', async t => {
  const usual = await under('', 'kvm')
  const failed = await under('fail:KVM_CLEAR_DIRTY_LOG,errno=ENOMEM,nth=2', 'kvm')
  t.is(failed.stdout, `KVM_CLEAR_DIRTY_LOG ${usual.stdout}`)
})
