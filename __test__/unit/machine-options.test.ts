import test from 'ava'
import { PassThrough } from 'node:stream'
import { AcceleratorError, MachineConfigError } from '../../ts/errors/index.js'
import { normaliseMachineOptions } from '../../ts/machine/config/normal-options.js'
import type { MachineOptions } from '../../ts/machine/config/machine-options.js'

const kernel = new Uint8Array([1])
const normal = (options: Partial<MachineOptions>) => normaliseMachineOptions({ kernel, ...options })

const plain = (size: number) => ({
  size,
  backend: 'anonymous' as const,
  path: '',
  share: false,
  prealloc: false,
  hugePages: 0,
})

const none = {
  bytesPerSecond: 0,
  bytesPerSecondMax: 0,
  bytesPerSecondMaxLength: 1,
  operationsPerSecond: 0,
  operationsPerSecondMax: 0,
  operationsPerSecondMaxLength: 1,
}
const unlimited = { total: none, reads: none, writes: none, operationSize: 0 }

test('defaults', t => {
  const { accel, ...rest } = normal({})
  t.is(accel.candidates.length, 1)
  t.deepEqual(rest, {
    memory: plain(128 * 1024 * 1024),
    cpu: {
      model: 'host',
      features: [],
      check: true,
      enforce: false,
      kvm: true,
      pmu: null,
      migratable: false,
      tscKhz: null,
    },
    topology: { sockets: 1, dies: 1, cores: 1, threads: 1 },
    cpuPm: false,
    msrFilter: [],
    busLockRatelimit: 0,
    cpus: 1,
    kernel,
    firmware: null,
    kernelFormat: 'auto',
    initrd: [],
    append: '',
    autoKernelCmdline: true,
    serials: [{ kind: 'null' }],
    debugConsole: null,
    pic: true,
    pit: true,
    rtc: { base: 'utc', clock: 'host' },
    debugExit: null,
    fwCfg: {},
    testDevices: false,
    acpi: true,
    lostTickPolicy: 'delay',
    disks: [],
    networks: [],
    rng: null,
    vsock: null,
    balloon: null,
    consoles: [],
    pvpanic: false,
    vmGenerationId: null,
    noReboot: false,
    noShutdown: false,
    trace: [],
    signal: null,
    name: null,
  })
})

test('an option that is undefined is one that was not given', t => {
  t.is(
    normaliseMachineOptions({ kernel, memory: undefined } as unknown as MachineOptions).memory.size,
    128 * 1024 * 1024,
  )
})

test('forms of each option', t => {
  const MiB = 1024 * 1024
  t.deepEqual(normal({ memory: '64M' }).memory, plain(64 * MiB))
  t.deepEqual(normal({ memory: MiB }).memory, plain(MiB))
  t.deepEqual(normal({ memory: { size: '1M', prealloc: true } }).memory, { ...plain(MiB), prealloc: true })
  const memfd = { ...plain(4 * MiB), backend: 'memfd', share: true, hugePages: 2 * MiB }
  t.deepEqual(normal({ memory: { size: '4M', backend: 'memfd', hugePages: true } }).memory, memfd)
  t.deepEqual(normal({ memory: { size: '1M', path: 'ram' } }).memory, { ...plain(MiB), backend: 'file', path: 'ram' })
  t.is(normal({ memory: { size: '2G', hugePages: '1G' } }).memory.hugePages, 1024 * MiB)
  t.is(normal({ cpus: 255 }).cpus, 255)
  t.deepEqual(normal({ rng: true }).rng, { source: '/dev/urandom', maxBytes: null, period: 65_536 })
  const limited = { source: '/dev/hwrng', maxBytes: 1024, period: 1000 }
  t.deepEqual(normal({ rng: limited }).rng, limited)
  t.is(normal({ rng: false }).rng, null)
  const balloon = { deflateOnOom: false, freePageReporting: false, statisticsInterval: 0 }
  t.is(normal({ balloon: false }).balloon, null)
  t.deepEqual(normal({ balloon: true }).balloon, balloon)
  t.deepEqual(normal({ balloon: { deflateOnOom: true } }).balloon, { ...balloon, deflateOnOom: true })
  t.deepEqual(normal({ consoles: [{ target: 'pty' }] }).consoles, [{ target: { kind: 'pty' }, name: null }])
  t.deepEqual(normal({ vsock: { cid: 3 } }).vsock, { cid: 3, path: null, maxConnections: 128 })
  for (const maxConnections of [1, 1024]) {
    const vsock = { cid: 2 ** 32 - 2, path: 'v', maxConnections }
    t.deepEqual(normal({ vsock }).vsock, vsock)
  }
  t.deepEqual(normal({ disks: [{ path: 'a' }, { path: 'a', id: 'b', readOnly: true }] }).disks, [
    { path: 'a', format: 'raw', readOnly: false, id: 'disk0', serial: '', discard: false, throttle: unlimited },
    { path: 'a', format: 'raw', readOnly: true, id: 'b', serial: '', discard: false, throttle: unlimited },
  ])
  const limits = { bytesPerSecond: 5, operationsPerSecond: 7, operationsPerSecondMax: 9 }
  const [both] = normal({ disks: [{ path: 'a', throttle: { ...limits, operationSize: 512 } }] }).disks
  t.deepEqual(both?.throttle, { ...unlimited, total: { ...none, ...limits }, operationSize: 512 })
  const [each] = normal({ disks: [{ path: 'a', throttle: { reads: limits, writes: { bytesPerSecond: 1 } } }] }).disks
  t.deepEqual(each?.throttle, {
    ...unlimited,
    reads: { ...none, ...limits },
    writes: { ...none, bytesPerSecond: 1 },
  })
  t.deepEqual(normal({ debugExit: true }).debugExit, { iobase: 0xf4, iosize: 4 })
  t.deepEqual(normal({ debugExit: { iobase: 0x501 } }).debugExit, { iobase: 0x501, iosize: 4 })
  t.deepEqual(normal({ initrd: 'a b' }).initrd, [{ image: 'a b', cmdline: 'a b' }])
  t.deepEqual(normal({ initrd: kernel }).initrd, [{ image: kernel, cmdline: '' }])
  t.deepEqual(normal({ initrd: [{ image: 'a', cmdline: 'a x' }, { image: kernel }] }).initrd, [
    { image: 'a', cmdline: 'a x' },
    { image: kernel, cmdline: '' },
  ])
  t.deepEqual(normal({ serial: 'stdio' }).serials[0], { kind: 'stdio' })
  t.deepEqual(normal({ serial: { file: 'log' } }).serials[0], { kind: 'file', path: 'log' })
  const stream = new PassThrough()
  t.deepEqual(normal({ serial: stream }).serials[0], { kind: 'writable', stream })
  t.deepEqual(normal({ serials: [null, 'stdio', null, 'pty'] }).serials, [
    null,
    { kind: 'stdio' },
    null,
    { kind: 'pty' },
  ])
  t.deepEqual(normal({ debugConsole: { target: 'null' } }).debugConsole, { port: 0xe9, target: { kind: 'null' } })
  t.deepEqual(normal({ rtc: { base: new Date(0), clock: 'vm' } }).rtc, {
    base: '1970-01-01T00:00:00.000Z',
    clock: 'vm',
  })
  t.is(normal({ rtc: { base: '2026-01-31T12:00:00' } }).rtc.base, '2026-01-31T12:00:00.000Z')
  t.is(normal({ rtc: { base: '2026-01-31' } }).rtc.base, '2026-01-31T00:00:00.000Z')
  const fwCfg = { 'opt/a': { string: 'b' }, 'opt/c': { file: 'd' }, 'opt/e': kernel }
  t.deepEqual(normal({ fwCfg }).fwCfg, fwCfg)
  t.like(normaliseMachineOptions({ firmware: 'bios.bin' }), { kernel: null, firmware: 'bios.bin' })
  const { signal } = new AbortController()
  t.is(normal({ signal }).signal, signal)
})

const refused: readonly (readonly [options: Record<string, unknown>, option: string, message: RegExp])[] = [
  [{ balloon: { statisticsInterval: -1 } }, 'balloon', /object/],
  [{ balloon: { deflateOnOOM: true } }, 'balloon', /object/],
  [{ vmGenerationId: 'x' }, 'vmGenerationId', /'x'/],
  [{ vmGenerationId: 'auto', acpi: false }, 'vmGenerationId', /ACPI/],
  [{ vsock: {} }, 'vsock', /object/],
  [{ vsock: { cid: 2 } }, 'vsock', /from 3/],
  [{ vsock: { cid: 2 ** 32 - 1 } }, 'vsock', /4294967294/],
  [{ vsock: { cid: 3, path: '' } }, 'vsock', /object/],
  ...[0, 1025, 1.5].map(maxConnections => [{ vsock: { cid: 3, maxConnections } }, 'vsock', /from 1 to 1024/] as const),
  [{ memroy: 1 }, 'memroy', /Did you mean 'memory'/],
  [{ kernel: undefined }, 'kernel', /missing/],
  [{ kernel: '' }, 'kernel', /''/],
  [{ kernel: 5 }, 'kernel', /5/],
  [{ memory: '64MB' }, 'memory', /no size/],
  [{ memory: '99999999T' }, 'memory', /2\^53/],
  [{ memory: Number.NaN }, 'memory', /NaN/],
  [{ memory: 1.5 * 1024 * 1024 + 0.5 }, 'memory', /whole number/],
  [{ memory: '512k' }, 'memory', /at least 1 MiB/],
  [{ memory: -1 }, 'memory', /at least 1 MiB/],
  [{ memory: 1024 * 1024 + 1 }, 'memory', /4 KiB; the next size is '1028K'/],
  [{ memory: { size: '3M', hugePages: true } }, 'memory', /huge pages are of 2M; the next size is '4M'/],
  [{ memory: { size: '4M', hugePages: '4M' } }, 'memory', /object/],
  [{ memory: { size: '4M', backend: 'disk' } }, 'memory', /object/],
  [{ memory: { size: '4M', backend: 'file' } }, 'memory', /no path/],
  [{ memory: { size: '4M', backend: 'memfd', path: 'ram' } }, 'memory', /backend 'memfd' does not use/],
  [{ memory: { size: '4M', path: 'ram', hugePages: true } }, 'memory', /hugetlbfs/],
  [{ memory: { path: 'ram' } }, 'memory', /object/],
  [{ cpus: 0 }, 'cpus', /0/],
  [{ cpus: 256 }, 'cpus', /256/],
  [{ cpus: 1.5 }, 'cpus', /1\.5/],
  [{ cpus: '2' }, 'cpus', /'2'/],
  [{ kernelFormat: 'elf' }, 'kernelFormat', /'elf'/],
  [{ initrd: [{ images: 'a' }] }, 'initrd', /list/],
  [{ initrd: [{ image: 'a', cmdline: 'a\0b' }] }, 'initrd', /list/],
  [{ append: 'a\0b' }, 'append', /append/],
  [{ serial: 'tcp' }, 'serial', /'tcp'/],
  [{ serial: { file: '' } }, 'serial', /object/],
  [{ lostTickPolicy: 'catchup' }, 'lostTickPolicy', /'catchup'/],
  [{ disks: [{}] }, 'disks', /list/],
  [{ disks: [{ path: 'a', format: 'vmdk' }] }, 'disks', /list/],
  [{ disks: [{ path: 'a' }, { path: 'b', id: 'disk0' }] }, 'disks', /two disks have the id 'disk0'/],
  [{ disks: [{ path: 'a', serial: 'ä'.repeat(11) }] }, 'disks', /20 bytes/],
  [{ serial: 'null', serials: ['null'] }, 'serials', /beside 'serial'/],
  [{ serials: ['null', null, null, null, null] }, 'serials', /list/],
  [{ debugConsole: { port: 65536, target: 'null' } }, 'debugConsole', /object/],
  [{ rtc: { base: '2026-13-01' } }, 'rtc', /object/],
  [{ rtc: { base: 'now' } }, 'rtc', /object/],
  [{ fwCfg: { '': kernel } }, 'fwCfg', /object/],
  [{ fwCfg: { 'opt/ä': kernel } }, 'fwCfg', /object/],
  [{ fwCfg: { ['n'.repeat(56)]: kernel } }, 'fwCfg', /object/],
  [{ fwCfg: { 'opt/a': { bytes: 'b' } } }, 'fwCfg', /object/],
  [{ firmware: '' }, 'firmware', /''/],
  [{ disks: [{ path: 'a', throttle: { bytesPerSecond: 0 } }] }, 'disks', /bytesPerSecond 0/],
  [{ disks: [{ path: 'a', throttle: { operationSize: 1.5 } }] }, 'disks', /operationSize 1\.5/],
  [{ disks: [{ path: 'a', throttle: { reads: { bytesPerSecond: 0 } } }] }, 'disks', /reads\.bytesPerSecond 0/],
  [{ disks: [{ path: 'a', throttle: { bytesPerSecond: 1, writes: { bytesPerSecond: 1 } } }] }, 'disks', /in total and/],
  [{ disks: [{ path: 'a', throttle: { bytesPerSecondMax: 5 } }] }, 'disks', /bytesPerSecond is missing/],
  [{ disks: [{ path: 'a', throttle: { bytesPerSecondMaxLength: 5 } }] }, 'disks', /without bytesPerSecondMax/],
  [{ disks: [{ path: 'a', throttle: { operationsPerSecond: 9, operationsPerSecondMax: 5 } }] }, 'disks', /is 9/],
  [
    { disks: [{ path: 'a', throttle: { bytesPerSecond: 1, bytesPerSecondMax: 1e15, bytesPerSecondMaxLength: 2 } }] },
    'disks',
    /for 2 s/,
  ],
  [{ debugExit: { port: 1 } }, 'debugExit', /object/],
  [{ debugExit: { iosize: 0 } }, 'debugExit', /iosize 0/],
  [{ debugExit: { iobase: 0xffff, iosize: 2 } }, 'debugExit', /iobase 65535/],
  [{ noReboot: 'yes' }, 'noReboot', /'yes'/],
  [{ signal: {} }, 'signal', /object/],
]

for (const [options, option, message] of refused) {
  test(`refused: ${JSON.stringify(options)}`, t => {
    const error = t.throws(() => normal(options), { instanceOf: MachineConfigError, code: 'ERR_MACHINE_CONFIG' })
    t.is(error?.option, option)
    t.regex(error?.message ?? '', message)
    t.true((error?.remedy ?? '').length > 0)
  })
}

test('options that are no object are refused', t => {
  t.throws(() => normaliseMachineOptions(undefined as unknown as MachineOptions), { instanceOf: MachineConfigError })
})

test('the accelerator is checked with its own errors', t => {
  t.throws(() => normal({ accel: 'tcg' }), { instanceOf: AcceleratorError })
})
