import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Machine, guestImage, type MachineOptions, type KvmStatistics } from 'kvm-accel'
import { guestFile } from '../helpers/guest-file.js'
import { interpose } from '../helpers/interpose.js'
import { cli, scratch } from '../helpers/paths.js'
import { kvm, preload, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

const test = requires(kvm)

const make = (guest: string, options: Partial<MachineOptions> = {}): Promise<Machine> =>
  Machine.create({ kernel: guestImage(guest), memory: '16M', noReboot: true, ...options })

test('the kernel’s exit count is at least that of stats()', async t => {
  for (const guest of ['pio-loop', 'mmio-loop']) {
    await using machine = await make(guest, { append: 'count=300', noShutdown: true })
    const [before] = machine.kvmStatistics().vcpus
    t.is(before?.exits?.value, 0)
    await machine.start()
    await machine.wait()
    const { vm, vcpus, counters } = machine.kvmStatistics()
    const ours = (counters.exits['io'] ?? 0) + (counters.exits['mmio'] ?? 0)
    t.is(vcpus.length, 1)
    t.true(ours > 300)
    t.true((vcpus[0]?.exits?.value ?? 0) >= ours, JSON.stringify({ guest, ours, kernel: vcpus[0]?.exits }))
    t.deepEqual(counters, machine.counters())
    t.like(vcpus[0]?.exits, { name: 'exits', type: 'cumulative', unit: null, base: 10, exponent: 0 })
    t.is(vm.max_mmu_rmap_size?.type, 'peak')
  }
})

test('statistics can be read while a vCPU runs without an exit', async t => {
  await using machine = await make('spin', { cpus: 2 })
  await machine.start()
  const samples: KvmStatistics[] = []
  for await (const sample of machine.watchKvmStatistics(20)) if (samples.push(sample) === 4) break
  t.is(machine.state, 'running')
  t.deepEqual(
    samples.map(({ vcpus }) => vcpus.length),
    [2, 2, 2, 2],
  )
  const exits = samples.map(({ vcpus }) => vcpus[0]?.exits?.value ?? NaN)
  t.deepEqual(
    exits,
    exits.toSorted((a, b) => a - b),
  )
})

test('the count of stats() contains a drill, and the kernel’s does not', async t => {
  await using machine = await make('spin')
  await machine.start()
  await Promise.all([once(machine, 'notify'), machine.injectNotify()])
  const { vcpus, counters } = machine.kvmStatistics()
  t.deepEqual(counters.notify, [1])
  t.is(vcpus[0]?.notify_window_exits?.value ?? 0, 0)
})

test('histogram buckets ascend without gaps, and the last is open', async t => {
  await using machine = await make('hello')
  const { vcpus } = machine.kvmStatistics()
  const buckets = vcpus[0]?.halt_wait_hist?.buckets ?? []
  t.true(buckets.length > 2)
  t.is(buckets[0]?.from, 0)
  t.is(buckets.at(-1)?.to, Infinity)
  for (const [index, { to }] of buckets.slice(0, -1).entries()) t.is(to, buckets[index + 1]?.from ?? NaN)
  t.like(vcpus[0]?.halt_wait_ns, { unit: 'seconds', base: 10, exponent: -9 })
})

test('watchKvmStatistics() ends with its machine, and an ended machine has only the count of counters()', async t => {
  const machine = await make('spin')
  await machine.start()
  const seen: number[] = []
  for await (const { time } of machine.watchKvmStatistics(10)) {
    seen.push(time)
    if (seen.length === 2) void machine.stop()
  }
  t.true(seen.length >= 2)
  await machine.stop()
  t.throws(() => machine.kvmStatistics(), { code: 'ERR_MACHINE_STATE', message: /^kvmStatistics\(\).*has ended/ })
  t.true(Object.hasOwn(machine.counters().exits, 'io'))
  t.throws(() => machine.watchKvmStatistics(0), { code: 'ERR_ARGUMENT' })
})

test('-stats writes a line of JSON for each sample, and a last one', async t => {
  const file = join(scratch(), 'stats.jsonl')
  const argv = ['-kernel', guestFile('pio-loop'), '-append', 'count=1000', '-no-reboot', '-stats', `0.01,file=${file}`]
  const { status, stderr } = await run(process.execPath, [cli, 'run', ...argv])
  t.is(status, 0, stderr)
  t.is(stderr, '')
  const samples = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))
  t.true(samples.length >= 2)
  t.is(samples[0].kernel.vcpus.length, 1)
  t.is(samples[0].exits.io.rate, 0)
  t.true(samples.at(-1).exits.io.total >= 1000)
})

test('-stats without a file or a terminal writes to standard error', async t => {
  const argv = ['-kernel', guestFile('hello'), '-no-reboot', '-serial', 'stdio', '-stats', '60']
  const { status, stdout, stderr } = await run(process.execPath, [cli, 'run', ...argv])
  t.is(status, 0, stderr)
  t.regex(stdout, /^Hello/)
  for (const line of stderr.trimEnd().split('\n')) t.true(Object.hasOwn(JSON.parse(line).exits, 'io'))
})

const without = requires(kvm, preload)

without(
  'without kernel statistics, kvmStatistics() names the capability and -stats prints the count of counters()',
  async t => {
    const { env } = interpose('cap:203=0')
    const program = `
    import { Machine, guestImage } from 'kvm-accel'
    const machine = await Machine.create({ kernel: guestImage('hello') })
    try { machine.kvmStatistics() } catch ({ code, capability, remedy }) { console.log(code, capability, remedy) }
    await machine.stop()`
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', program], { env })
    t.regex(stdout, /^ERR_KVM_CAPABILITY KVM_CAP_BINARY_STATS_FD Use Linux 5\.14/)
    const argv = ['-kernel', guestFile('hello'), '-no-reboot', '-stats', '60']
    const { status, stderr } = await run(process.execPath, [cli, 'run', ...argv], { env })
    t.is(status, 0, stderr)
    t.regex(stderr, /warning: -stats shows our own count only.*\n\{"time":0,"exits":.*"kernel":null\}/)
  },
)

without('if the kernel refuses a statistics file, the call fails and the machine runs', async t => {
  const { env } = interpose('fail:KVM_GET_STATS_FD,errno=EMFILE,times=9')
  const program = `
    import { Machine, guestImage } from 'kvm-accel'
    const machine = await Machine.create({ kernel: guestImage('hello'), noReboot: true })
    try { machine.kvmStatistics() } catch ({ code, ioctl, errnoName }) { console.log(code, ioctl, errnoName) }
    await machine.start()
    console.log((await machine.wait()).reason)`
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', program], { env })
  t.is(stdout, 'ERR_KVM_IOCTL KVM_GET_STATS_FD EMFILE\nguest-reset\n')
})
