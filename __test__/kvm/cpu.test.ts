import { text } from 'node:stream/consumers'
import { Machine, guestImage, type MachineOptions } from 'kvm-accel'
import { KVM_CAP_SYS_HYPERV_CPUID, Kvm } from 'kvm-accel/kvm'
import { cpuFeatures } from '../../ts/machine/config/cpu/features.js'
import { isCpuModel } from '../../ts/machine/config/cpu/models.js'
import { native } from '../../ts/native/native.js'
import { kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

interface CpuidOutput {
  /** EAX to EDX of each processor. */
  readonly cpus: readonly (readonly number[])[]
  readonly msr: string | undefined
  readonly reason: string
  readonly warnings: readonly string[]
  readonly exits: Readonly<Record<string, number>>
}

/** Parses the output of the guest `cpuid`. */
const cpuid = async (append: string, options: Partial<MachineOptions> = {}): Promise<CpuidOutput> => {
  const kernel = guestImage('cpuid')
  await using machine = await Machine.create({
    kernel,
    append,
    memory: '16M',
    serial: 'stream',
    noReboot: true,
    ...options,
  })
  const warnings: string[] = []
  machine.on('warning', ({ code }) => warnings.push(code))
  const output = text(machine.serial)
  await machine.start()
  const { reason } = await machine.wait()
  const { exits } = machine.counters()
  await machine.stop()
  const printed = await output
  const cpus: number[][] = []
  for (const [, cpu, registers = ''] of printed.matchAll(/^(\d+): (.*)$/gm)) {
    cpus[Number(cpu)] = registers.trim().split(' ').map(Number)
  }
  return { cpus, msr: /^msr: (\S+)/m.exec(printed)?.[1], reason, warnings, exits }
}

test('the TypeScript tables have the accelerator’s features and models', t => {
  const { cpuFeatureNames, cpuModelNames } = native()
  t.deepEqual([...cpuFeatures].toSorted(), cpuFeatureNames().toSorted())
  for (const name of cpuModelNames()) t.true(isCpuModel(name), name)
})

test('a feature is removed by its name', async t => {
  const leaf = 'leaf=0x80000001'
  const [host] = (await cpuid(leaf)).cpus
  const [without] = (await cpuid(leaf, { cpu: 'host,-lahf_lm,-nx' })).cpus
  t.is((host?.[2] ?? 0) & 1, 1)
  t.is((without?.[2] ?? 1) & 1, 0)
  t.is((without?.[3] ?? 0) & (1 << 20), 0)
})

test('kvm=off hides KVM from the guest, and hypercall features appear only on request', async t => {
  const features = async (cpu: string) => (await cpuid('leaf=0x40000001', { cpu })).cpus[0]?.[0] ?? 0
  const offered = await features('host')
  t.is(offered & ((1 << 7) | (1 << 9) | (1 << 11) | (1 << 13)), 0)
  t.is((await features('host,+kvm-pv-unhalt')) & (1 << 7), 1 << 7)
  t.is((await features('host,-kvm-steal-time')) & (1 << 5), 0)
  t.not((await cpuid('leaf=0x40000000', { cpu: 'host,kvm=off' })).cpus[0]?.[1], 0x4b4d564b)
})

test('a CPU model has its brand string and lacks the features that the host lacks', async t => {
  const { cpus, warnings } = await cpuid('leaf=0x80000002', { cpu: 'Haswell,-hle,-rtm' })
  t.is(Buffer.from(Uint32Array.from(cpus[0] ?? []).buffer).toString(), 'Intel Core Proce')
  t.true(warnings.every(code => code === 'CPU_FEATURE_UNAVAILABLE'))
  t.deepEqual((await cpuid('', { cpu: 'Penryn' })).warnings, ['CPU_MODEL_UNAVAILABLE'])
  await t.throwsAsync(cpuid('', { cpu: 'host,+3dnowext,+amx-tile,+avx512er,enforce' }), {
    code: 'ERR_MACHINE_CONFIG',
    message: /host doesn't support requested feature: CPUID/,
  })
})

test('phys-bits is in leaf 0x80000008 with a warning, and host-phys-bits outranks it', async t => {
  const physBits = async (cpu?: MachineOptions['cpu']) => {
    const { cpus, warnings } = await cpuid('leaf=0x80000008', cpu === undefined ? {} : { cpu })
    return [(cpus[0]?.[0] ?? 0) & 0xff, ...warnings]
  }
  const [host] = await physBits()
  const other = host === 40 ? 39 : 40
  t.deepEqual(await physBits('host,phys-bits=0,host-phys-bits=off'), [host])
  t.deepEqual(await physBits({ physBits: other }), [other, 'CPU_FEATURE_UNAVAILABLE'])
  t.deepEqual(await physBits('host,phys-bits=52'), [52, ...(host === 52 ? [] : ['CPU_FEATURE_UNAVAILABLE'])])
  t.deepEqual(await physBits(`host,phys-bits=${other},host-phys-bits=on`), [host, 'CPU_FEATURE_UNAVAILABLE'])
  for (const bits of [31, 53]) {
    const message = new RegExp(`${bits}.*expected a whole number from 32 to 52, or 0`)
    await t.throwsAsync(physBits({ physBits: bits }), { code: 'ERR_MACHINE_CONFIG', message })
    await t.throwsAsync(physBits(`host,phys-bits=${bits}`), { code: 'ERR_MACHINE_CONFIG', message })
  }
})

test('the vendor is the host’s or the given one', async t => {
  const vendor = async (cpu: NonNullable<MachineOptions['cpu']>) => {
    const [, ebx = 0, ecx = 0, edx = 0] = (await cpuid('leaf=0', { cpu })).cpus[0] ?? []
    return Buffer.from(Uint32Array.of(ebx, edx, ecx).buffer).toString('latin1')
  }
  t.is(await vendor('host,vendor=KVMaccelTest'), 'KVMaccelTest')
  t.is(await vendor({ model: 'Haswell', vendor: 'GenuineIntel' }), 'GenuineIntel')
  for (const cpu of ['host,vendor=Intel', { vendor: 'fünfzehnzehn' }] as const) {
    await t.throwsAsync(cpuid('', { cpu }), { code: 'ERR_MACHINE_CONFIG', message: /12 ASCII characters/ })
  }
})

test('the host’s CPU has a brand string and its first-level caches', async t => {
  const [brand] = (await cpuid('leaf=0x80000002')).cpus
  t.true(brand?.some(word => word !== 0))
  // Leaf 4 is Intel's.
  const intel = (await cpuid('leaf=0')).cpus[0]?.[1] === Buffer.from('Genu').readUInt32LE()
  const [caches] = (await cpuid(intel ? 'leaf=4' : 'leaf=0x80000005')).cpus
  t.true(caches?.slice(1).some(word => word !== 0))
})

test('memory above the guest’s physical addresses is refused', async t => {
  const [eax = 0] = (await cpuid('leaf=0x80000008')).cpus[0] ?? []
  const options = { memory: '5G', cpu: { physBits: 32 } } as const
  t.true((eax & 0xff) >= 36)
  await t.throwsAsync(cpuid('', options), {
    code: 'ERR_MACHINE_CONFIG',
    message: /Address space limit 0xffffffff < 0x17fffffff phys-bits too low \(32\)/,
  })
})

test('Hyper-V’s leaves precede those of KVM, or the kernel lacks them', async t => {
  const cpu = 'host,hv_relaxed,hv_vpindex,hv_synic,hv_time,hv_stimer,hv_spinlocks=0x1fff,hv_vendor_id=KVM test'
  const leaf = async (number: number) => {
    const { cpus } = await cpuid(`leaf=${number}`, { cpu })
    return Buffer.from(Uint32Array.from(cpus[0] ?? []).buffer)
  }
  using host = new Kvm()
  if (host.checkExtension(KVM_CAP_SYS_HYPERV_CPUID) === 0) {
    const message = /Hyper-V .* is not supported by kernel/
    await t.throwsAsync(leaf(0), { code: 'ERR_MACHINE_CONFIG', message })
    return
  }
  const first = await leaf(0x4000_0000)
  t.deepEqual([first.readUInt32LE(), first.toString('latin1', 4)], [0x4000_0005, 'KVM test\0\0\0\0'])
  t.is((await leaf(0x4000_0004)).readUInt32LE(4), 0x1fff)
  t.is((await leaf(0x4000_0100)).toString('latin1', 4), 'KVMKVMKVM\0\0\0')
})

test('the topology is in the APIC ids, and MSR 0x35 counts it', async t => {
  const topology = { sockets: 1, cores: 1, threads: 2 }
  const { cpus, msr, exits } = await cpuid('cpus=2 leaf=0xb sub=1 msr=0x35', { topology })
  t.deepEqual(
    cpus.map(([, count, , id]) => [count, id]),
    [
      [2, 0],
      [2, 1],
    ],
  )
  t.is(msr, '0x10002')
  t.is(exits['msr'], 1)
  const apart = await cpuid('cpus=2 leaf=0xb sub=1', { topology: { sockets: 2 } })
  t.deepEqual(
    apart.cpus.map(([, count, , id]) => [count, id]),
    [
      [1, 0],
      [1, 1],
    ],
  )
})

test('MSR rules return a fixed value, and a rule of fault raises a #GP', async t => {
  const read = { index: 0x1234, read: 0x1_2345_6789n, write: 'ignore' } as const
  t.is((await cpuid('msr=0x1234 write=5', { msrFilter: [read] })).msr, '0x123456789')
  const fault = await cpuid('msr=0x1235', { msrFilter: [{ index: 0x1230, count: 8, read: 'fault' }] })
  t.is(fault.msr, undefined, 'a #GP without a handler is a triple fault')
  t.true(fault.reason === 'guest-reset' || fault.reason === 'internal-error', fault.reason)
  const twice = [read, { index: 0x1234, read: 'fault' } as const]
  await t.throwsAsync(cpuid('', { msrFilter: twice }), { code: 'ERR_MACHINE_CONFIG', message: /two ranges/ })
})

test('an option that this host cannot satisfy causes a warning or an error', async t => {
  await t.throwsAsync(cpuid('', { busLockRatelimit: 10 }), { code: 'ERR_KVM_CAPABILITY', message: /193/ })
  const error = await cpuid('', { cpu: { tscFrequency: 123_000_000 } }).catch((error: unknown) => error)
  if (error instanceof Error) t.regex(error.message, /123000 kHz/)
  t.true(['guest-reset'].includes((await cpuid('', { cpuPm: true })).reason))
})
