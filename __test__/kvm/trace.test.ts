import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Machine, guestImage, type MachineOptions, type TraceRecord } from 'kvm-accel'
import { guestFile } from '../helpers/guest-file.js'
import { interpose } from '../helpers/interpose.js'
import { cli, scratch } from '../helpers/paths.js'
import { kvm, preload, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

const test = requires(kvm)

const make = (guest: string, options: Partial<MachineOptions> = {}): Promise<Machine> =>
  Machine.create({ kernel: guestImage(guest), memory: '16M', noReboot: true, ...options })

const all = async <R>(stream: AsyncIterable<R> | null): Promise<R[]> => {
  const records: R[] = []
  for await (const record of stream ?? []) records.push(record)
  return records
}

test('Every exit is a record, in order of time, and the trace ends with its machine', async t => {
  const machine = await make('hello')
  const before = process.hrtime.bigint()
  const trace = machine.trace('kvm_run_exit')
  await machine.start()
  const records = await all(trace)
  await machine.stop()
  const { io = 0, mmio = 0, other = 0 } = machine.counters().exits
  t.is(records.length, io + mmio + other)
  t.is(records.filter(({ args }) => args.reason === 2).length, io)
  t.true(records.every(({ vcpu, args }) => vcpu === 0 && args.cpu_index === 0))
  const times = records.map(({ time }) => time)
  t.deepEqual(
    times,
    times.toSorted((a, b) => (a < b ? -1 : 1)),
  )
  t.true((times[0] ?? 0n) > before && (times.at(-1) ?? 0n) < process.hrtime.bigint())
  t.is(trace.dropped, 0)
})

test('the option trace records from the first ioctl to the last vCPU', async t => {
  const machine = await make('smp', { cpus: 2, append: 'cpus=2', trace: '*' })
  await machine.start()
  await machine.wait()
  await machine.stop()
  const records = await all(machine.startTrace)
  const names = records.map(record => ('name' in record.args ? record.args.name : record.event))
  const order = [
    'KVM_CREATE_VM',
    'KVM_ENABLE_CAP',
    'kvm_set_user_memory',
    'KVM_CREATE_IRQCHIP',
    'kvm_init_vcpu',
    'KVM_CREATE_VCPU',
    'kvm_create_vcpu',
    'KVM_SET_CPUID2',
    'kvm_cpu_exec',
    'KVM_RUN',
    'kvm_run_exit',
    'kvm_destroy_vcpu',
  ]
  const places = order.map(name => names.indexOf(name))
  t.false(places.includes(-1), `missing: ${order.filter((_, at) => places[at] === -1).join(', ')}`)
  t.deepEqual(
    places,
    places.toSorted((a, b) => a - b),
  )
  const slot = records.find(({ event }) => event === 'kvm_set_user_memory')
  t.like(slot?.args, { slot: 0, guest_phys_addr: 0n, memory_size: 16n << 20n, ret: 0 })
  for (const vcpu of [0, 1]) {
    const own = records.filter(record => record.vcpu === vcpu)
    t.is(own.at(-1)?.event, 'kvm_destroy_vcpu')
    t.true(own.every(({ args }) => !('cpu_index' in args) || args.cpu_index === vcpu))
  }
  t.is((await make('hello').then(other => other.stop().then(() => other))).startTrace, null)
})

test('a slow reader loses records, which are counted, and the guest continues', async t => {
  const machine = await make('pio-loop', { append: 'count=500' })
  const trace = machine.trace('kvm_run_exit', { limit: 10 })
  await machine.start()
  await machine.wait()
  await machine.stop()
  const records = await all(trace)
  t.is(records.length, 10)
  const { io = 0, mmio = 0, other = 0 } = machine.counters().exits
  t.is(trace.dropped, io + mmio + other - 10)
})

test('the next record has the number of dropped records', async t => {
  const machine = await make('spin')
  const trace = machine.trace('kvm_notify', { limit: 1 })
  await machine.start()
  for (let n = 0; n < 3; n++) {
    await Promise.all([once(machine, 'notify'), machine.injectNotify()])
  }
  t.is((await trace.next()).value?.dropped, 0)
  await machine.injectNotify({ contextInvalid: true })
  const { value } = await trace.next()
  t.like(value, { event: 'kvm_notify', vcpu: 0, dropped: 2 })
  t.like(value?.args, { cpu_index: 0, injected: true, context_invalid: true, resumed: false })
  await machine.stop()
})

test('Readers start and stop while the machine runs, each with its own events', async t => {
  await using machine = await make('spin', { serial: 'stream' })
  await machine.start()
  // A vCPU that has not yet entered the guest is stopped without leaving it.
  await once(machine.serial, 'data')
  const seen: TraceRecord[] = []
  const everything = machine.trace('kvm_*')
  const reading = (async () => {
    for await (const record of everything) {
      seen.push(record)
      if (record.event === 'kvm_notify') break
    }
  })()
  await machine.pause()
  await machine.resume()
  await machine.injectNotify()
  await reading
  t.true(seen.some(({ event }) => event === 'kvm_interrupt_exit_request'))
  t.true(seen.some(({ event }) => event === 'kvm_io_window_exit'))
  t.true((await everything.next()).done)
  const waiting = machine.trace('kvm_internal_error')
  const next = waiting.next()
  await sleep(5)
  await waiting.return()
  t.true((await next).done)
})

test('each machine has its own trace', async t => {
  const [one, other] = await Promise.all([make('spin'), make('spin')])
  const traces = [one.trace('kvm_notify'), other.trace('kvm_notify')]
  await Promise.all([one.start(), other.start()])
  await Promise.all([once(other, 'notify'), other.injectNotify()])
  await Promise.all([one.stop(), other.stop()])
  t.deepEqual(await Promise.all(traces.map(async trace => (await all(trace)).length)), [0, 1])
})

test('trace() refuses a glob that matches no event, an invalid limit and an ended machine', async t => {
  const machine = await make('spin')
  t.throws(() => machine.trace('kvm_rum_exit'), { code: 'ERR_ARGUMENT', message: /Did you mean 'kvm_run_exit'/ })
  for (const limit of [0, 1.5, 2 ** 20 + 1]) t.throws(() => machine.trace('*', { limit }), { code: 'ERR_ARGUMENT' })
  await machine.stop()
  t.throws(() => machine.trace('*'), { code: 'ERR_MACHINE_STATE' })
})

test('-trace writes lines of JSON, in the order of QEMU’s start-up', async t => {
  const file = join(scratch(), 'trace.jsonl')
  const argv = ['-kernel', guestFile('hello'), '-no-reboot', '-trace', `kvm_*,file=${file}`]
  const { status, stderr } = await run(process.execPath, [cli, 'run', ...argv])
  t.is(status, 0, stderr)
  t.is(stderr, '')
  const records = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))
  t.true(records.some(({ args }) => args.name === 'KVM_CREATE_VM'))
  t.true(records.some(({ event }) => event === 'kvm_run_exit'))
  t.true(records.some(({ event }) => event === 'kvm_destroy_vcpu'))
})

test('-trace writes to standard error, and a Chrome trace has the exits as slices', async t => {
  const argv = ['-kernel', guestFile('hello'), '-no-reboot', '-trace', 'kvm_init_vcpu']
  const { stderr } = await run(process.execPath, [cli, 'run', ...argv])
  t.like(JSON.parse(stderr), { event: 'kvm_init_vcpu', vcpu: null, args: { cpu_index: 0, arch_cpu_id: 0 } })
  const file = join(scratch(), 'trace.json')
  const { status } = await run(process.execPath, [
    cli,
    'run',
    ...argv.slice(0, 3),
    '-trace',
    `kvm_notify,file=${file},format=chrome`,
  ])
  t.is(status, 0)
  const events = JSON.parse(readFileSync(file, 'utf8')) as { ph: string; name: string; dur: number }[]
  const slices = events.filter(({ ph }) => ph === 'X')
  t.true(slices.filter(({ name }) => name === 'guest').length > 100)
  t.true(slices.filter(({ name }) => name === 'io').length > 100)
  t.true(slices.every(({ dur }) => dur >= 0))
})

const watched = requires(kvm, preload)

watched('the traced ioctls are those that the kernel receives', async t => {
  const { env, calls } = interpose('cap219')
  const file = join(scratch(), 'ioctls.jsonl')
  const argv = [
    '-kernel',
    guestFile('smp'),
    '-smp',
    '2',
    '-append',
    'cpus=2',
    '-no-reboot',
    '-trace',
    `*ioctl,file=${file}`,
  ]
  const { status, stderr } = await run(process.execPath, [cli, 'run', ...argv], { env })
  t.is(status, 0, stderr)
  const traced = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line).args.name as string)
  const count = (names: readonly string[]) => {
    const counts: Record<string, number> = {}
    // A vCPU thread may be about to enter the guest when the machine ends. kvm-ioctls itself calls
    // mmap and queries its size.
    for (const name of names.toSorted())
      if (!['KVM_RUN', 'mmap', 'KVM_GET_VCPU_MMAP_SIZE'].includes(name)) counts[name] = (counts[name] ?? 0) + 1
    return counts
  }
  t.deepEqual(count(traced), count(calls().map(({ ioctl }) => ioctl)))
})
