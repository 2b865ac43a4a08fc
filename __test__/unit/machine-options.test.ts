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

test('Machine.create() has the documented defaults', t => {
  const { accel, ...rest } = normal({})
  t.is(accel.candidates.length, 1)
  t.deepEqual(rest, {
    memory: plain(128 * 1024 * 1024),
    dumpGuestCore: true,
    cpu: {
      model: 'host',
      vendor: null,
      features: [],
      check: true,
      enforce: false,
      kvm: true,
      pmu: null,
      migratable: false,
      hostPhysBits: false,
      physBits: 0,
      hvSpinlocks: null,
      hvVendorId: null,
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
    hpet: false,
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
    maxQueuedEvents: 1024,
    signal: null,
    name: null,
  })
})

test('an undefined option counts as missing', t => {
  t.is(
    normaliseMachineOptions({ kernel, memory: undefined } as unknown as MachineOptions).memory.size,
    128 * 1024 * 1024,
  )
})

test('each option accepts its documented forms', t => {
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
    { path: 'a', format: null, readOnly: false, id: 'disk0', serial: '', discard: false, throttle: unlimited },
    { path: 'a', format: null, readOnly: true, id: 'b', serial: '', discard: false, throttle: unlimited },
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
  t.deepEqual(normal({ debugExit: true }).debugExit, { iobase: 0x501, iosize: 2 })
  t.deepEqual(normal({ debugExit: { iobase: 0xf4 } }).debugExit, { iobase: 0xf4, iosize: 2 })
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

test('a file: URL becomes its path, and an undefined option is absent', t => {
  const url = new URL('file:///a%20b')
  const { disks, initrd, serials, fwCfg } = normal({
    disks: [{ path: url }],
    initrd: url,
    serial: { file: url },
    fwCfg: { 'opt/a': { file: url } },
    memory: undefined,
  })
  const path = '/a b'
  t.is(disks[0]?.path, path)
  t.deepEqual(initrd, [{ image: path, cmdline: path }])
  t.deepEqual(serials, [{ kind: 'file', path }])
  t.deepEqual(fwCfg, { 'opt/a': { file: path } })
})

const refused: readonly (readonly [options: Record<string, unknown>, option: string, message: string])[] = [
  [
    { balloon: { statisticsInterval: -1 } },
    'balloon',
    "invalid value -1 for machine option 'balloon.statisticsInterval': expected a whole number of milliseconds from 0 to 4294967295",
  ],
  [
    { balloon: { deflateOnOOM: true } },
    'balloon',
    "unknown machine option 'balloon.deflateOnOOM'. Did you mean 'deflateOnOom'?",
  ],
  [
    { vmGenerationId: 'x' },
    'vmGenerationId',
    "invalid value 'x' for machine option 'vmGenerationId': expected 'auto' or a UUID",
  ],
  [
    { vmGenerationId: 'auto', acpi: false },
    'vmGenerationId',
    "invalid machine option 'vmGenerationId': it needs ACPI, which is off",
  ],
  [{ vsock: {} }, 'vsock', "machine option 'vsock.cid' is missing: expected a whole number from 3 to 4294967294"],
  [
    { vsock: { cid: 2 } },
    'vsock',
    "invalid value 2 for machine option 'vsock.cid': expected a whole number from 3 to 4294967294",
  ],
  [
    { vsock: { cid: 2 ** 32 - 1 } },
    'vsock',
    "invalid value 4294967295 for machine option 'vsock.cid': expected a whole number from 3 to 4294967294",
  ],
  [
    { vsock: { cid: 3, path: '' } },
    'vsock',
    "invalid value '' for machine option 'vsock.path': expected a path or a file: URL of at most 97 bytes",
  ],
  ...(
    [
      [{ vsock: { cid: 3, path: 'x'.repeat(98) } }, 'vsock.path', 97],
      [{ serial: { socket: 'x'.repeat(108) } }, 'serial.socket', 107],
      [{ serials: [null, { socket: 'ä'.repeat(54), server: true }] }, 'serials[1].socket', 107],
      [{ consoles: [{ target: { socket: 'x'.repeat(108) } }] }, 'consoles[0].target.socket', 107],
      [{ debugConsole: { target: { socket: 'x'.repeat(108) } } }, 'debugConsole.target.socket', 107],
      [{ networks: [{ backend: { stream: 'x'.repeat(108) } }] }, 'networks[0].backend.stream', 107],
    ] as const
  ).map(([options, path, longest]): [Record<string, unknown>, string, string] => [
    options,
    /^[^.[]*/.exec(path)?.[0] ?? '',
    `invalid machine option '${path}': the path '${path.startsWith('serials') ? 'ä'.repeat(54) : 'x'.repeat(longest + 1)}' is too long for a socket: expected at most ${longest} bytes, got ${longest + 1}`,
  ]),
  ...[new Date(Date.UTC(10_000, 0)), new Date(-62_167_219_200_001)].map(
    (base): [Record<string, unknown>, string, string] => [
      { rtc: { base } },
      'rtc',
      "invalid value an object for machine option 'rtc.base': expected 'utc', 'localtime', a Date of the years 0 to 9999 or a text YYYY-MM-DD[THH:MM:SS]",
    ],
  ),
  ...[0, 1025, 1.5].map(
    maxConnections =>
      [
        { vsock: { cid: 3, maxConnections } },
        'vsock',
        `invalid value ${maxConnections} for machine option 'vsock.maxConnections': expected a whole number from 1 to 1024`,
      ] as const,
  ),
  [{ memroy: 1 }, 'memroy', "unknown machine option 'memroy'. Did you mean 'memory'?"],
  [
    { kernel: undefined },
    'kernel',
    "invalid machine option 'kernel': it is missing, and so is 'firmware': expected at least one of them",
  ],
  [
    { kernel: '' },
    'kernel',
    "invalid value '' for machine option 'kernel': expected the path of a file, a file: URL, or its bytes as a Uint8Array",
  ],
  [
    { kernel: 5 },
    'kernel',
    "invalid value 5 for machine option 'kernel': expected the path of a file, a file: URL, or its bytes as a Uint8Array",
  ],
  [
    { memory: '64MB' },
    'memory',
    "invalid value '64MB' for machine option 'memory': expected a whole number of bytes up to 2^53 - 1, or a text with an optional K, M, G or T suffix (default M), for example '512M'",
  ],
  [
    { memory: '99999999T' },
    'memory',
    "invalid value '99999999T' for machine option 'memory': expected a whole number of bytes up to 2^53 - 1, or a text with an optional K, M, G or T suffix (default M), for example '512M'",
  ],
  [
    { memory: Number.NaN },
    'memory',
    "invalid value NaN for machine option 'memory': expected a whole number of bytes up to 2^53 - 1, or a text with an optional K, M, G or T suffix (default M), for example '512M'",
  ],
  [
    { memory: 1.5 * 1024 * 1024 + 0.5 },
    'memory',
    "invalid value 1572864.5 for machine option 'memory': expected a whole number of bytes up to 2^53 - 1, or a text with an optional K, M, G or T suffix (default M), for example '512M'",
  ],
  [{ memory: '512k' }, 'memory', "invalid machine option 'memory': 524288 bytes are less than 1 MiB"],
  [{ memory: -1 }, 'memory', "invalid machine option 'memory': -1 bytes are less than 1 MiB"],
  [
    { memory: 1024 * 1024 + 1 },
    'memory',
    "invalid machine option 'memory': 1048577 bytes are not a multiple of 4K, the page size",
  ],
  [
    { memory: { size: '3M', hugePages: true } },
    'memory',
    "invalid machine option 'memory': 3145728 bytes are not a multiple of 2M, the page size",
  ],
  [
    { memory: { size: '4M', hugePages: '4M' } },
    'memory',
    "invalid value '4M' for machine option 'memory.hugePages': expected a boolean, '2M' or '1G'",
  ],
  [
    { memory: { size: '4M', backend: 'disk' } },
    'memory',
    "invalid value 'disk' for machine option 'memory.backend': expected 'anonymous', 'memfd' or 'file'",
  ],
  [
    { memory: { size: '4M', backend: 'file' } },
    'memory',
    "invalid machine option 'memory': backend 'file' needs a path",
  ],
  [
    { memory: { size: '4M', backend: 'memfd', path: 'ram' } },
    'memory',
    "invalid machine option 'memory': backend 'memfd' does not use a path",
  ],
  [
    { memory: { size: '4M', path: 'ram', hugePages: true } },
    'memory',
    "invalid machine option 'memory': 'hugePages' does not apply to backend 'file'",
  ],
  [
    { memory: { path: 'ram' } },
    'memory',
    "machine option 'memory.size' is missing: expected a whole number of bytes up to 2^53 - 1, or a text with an optional K, M, G or T suffix (default M), for example '512M'",
  ],
  [{ cpus: 0 }, 'cpus', "invalid value 0 for machine option 'cpus': expected a whole number from 1 to 255"],
  [{ cpus: 256 }, 'cpus', "invalid value 256 for machine option 'cpus': expected a whole number from 1 to 255"],
  [{ cpus: 1.5 }, 'cpus', "invalid value 1.5 for machine option 'cpus': expected a whole number from 1 to 255"],
  [{ cpus: '2' }, 'cpus', "invalid value '2' for machine option 'cpus': expected a whole number from 1 to 255"],
  [
    { kernelFormat: 'elf' },
    'kernelFormat',
    "invalid value 'elf' for machine option 'kernelFormat': expected 'auto', 'flat', 'linux', 'multiboot' or 'pvh'",
  ],
  [{ initrd: [{ images: 'a' }] }, 'initrd', "unknown machine option 'initrd[0].images'. Did you mean 'image'?"],
  [
    { initrd: [{ image: 'a', cmdline: 'a\0b' }] },
    'initrd',
    "invalid value 'a\\0b' for machine option 'initrd[0].cmdline': expected a text without NUL",
  ],
  [{ append: 'a\0b' }, 'append', "invalid value 'a\\0b' for machine option 'append': expected a text without NUL"],
  [
    { serial: 'tcp' },
    'serial',
    "invalid value 'tcp' for machine option 'serial': expected 'stdio', 'null', 'stream', 'pty', { file }, { socket, server, wait } or a Writable",
  ],
  [
    { serial: { file: '' } },
    'serial',
    "invalid value '' for machine option 'serial.file': expected a path or a file: URL",
  ],
  [
    { lostTickPolicy: 'catchup' },
    'lostTickPolicy',
    "invalid value 'catchup' for machine option 'lostTickPolicy': expected 'delay' or 'discard'",
  ],
  [{ disks: [{}] }, 'disks', "machine option 'disks[0].path' is missing: expected a path or a file: URL"],
  [
    { disks: [{ path: 'a', format: 'vmdk' }] },
    'disks',
    "invalid value 'vmdk' for machine option 'disks[0].format': expected 'raw' or 'qcow2'",
  ],
  [
    { disks: [{ path: 'a' }, { path: 'b', id: 'disk0' }] },
    'disks',
    "invalid machine option 'disks': two disks have the id 'disk0'",
  ],
  [
    { disks: [{ path: 'a', serial: 'ä'.repeat(11) }] },
    'disks',
    "invalid value 'äääääääääää' for machine option 'disks[0].serial': expected a text of at most 20 bytes without NUL",
  ],
  [
    { serial: 'null', serials: ['null'] },
    'serials',
    "invalid machine option 'serials': it is given beside 'serial', which is its first element",
  ],
  [
    { serials: ['null', null, null, null, null] },
    'serials',
    "invalid value a list for machine option 'serials': expected a list of at most 4 targets, null for a port that is absent; a target is 'stdio', 'null', 'stream', 'pty', { file }, { socket, server, wait } or a Writable",
  ],
  [
    { debugConsole: { port: 65536, target: 'null' } },
    'debugConsole',
    "invalid value 65536 for machine option 'debugConsole.port': expected a whole number from 0 to 65535",
  ],
  [
    { rtc: { base: '2026-13-01' } },
    'rtc',
    "invalid value '2026-13-01' for machine option 'rtc.base': expected 'utc', 'localtime', a Date of the years 0 to 9999 or a text YYYY-MM-DD[THH:MM:SS]",
  ],
  [
    { rtc: { base: 'now' } },
    'rtc',
    "invalid value 'now' for machine option 'rtc.base': expected 'utc', 'localtime', a Date of the years 0 to 9999 or a text YYYY-MM-DD[THH:MM:SS]",
  ],
  [{ fwCfg: { '': kernel } }, 'fwCfg', "invalid machine option 'fwCfg': invalid file name ''"],
  [{ fwCfg: { 'opt/ä': kernel } }, 'fwCfg', "invalid machine option 'fwCfg': invalid file name 'opt/ä'"],
  [
    { fwCfg: { ['n'.repeat(56)]: kernel } },
    'fwCfg',
    "invalid machine option 'fwCfg': invalid file name 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn'",
  ],
  [{ fwCfg: { 'opt/a': { bytes: 'b' } } }, 'fwCfg', "unknown machine option 'fwCfg['opt/a'].bytes'"],
  [
    { firmware: '' },
    'firmware',
    "invalid value '' for machine option 'firmware': expected the path of a file, a file: URL, or its bytes as a Uint8Array",
  ],
  [
    { disks: [{ path: 'a', throttle: { bytesPerSecond: 0 } }] },
    'disks',
    "invalid value 0 for machine option 'disks[0].throttle.bytesPerSecond': expected a whole number from 1 to 10^15",
  ],
  [
    { disks: [{ path: 'a', throttle: { operationSize: 1.5 } }] },
    'disks',
    "invalid value 1.5 for machine option 'disks[0].throttle.operationSize': expected a whole number from 1 to 10^15",
  ],
  [
    { disks: [{ path: 'a', throttle: { reads: { bytesPerSecond: 0 } } }] },
    'disks',
    "invalid value 0 for machine option 'disks[0].throttle.reads.bytesPerSecond': expected a whole number from 1 to 10^15",
  ],
  [
    { disks: [{ path: 'a', throttle: { bytesPerSecond: 1, writes: { bytesPerSecond: 1 } } }] },
    'disks',
    "invalid machine option 'disks[0].throttle': bytesPerSecond is given in total and for one direction",
  ],
  [
    { disks: [{ path: 'a', throttle: { bytesPerSecondMax: 5 } }] },
    'disks',
    "invalid machine option 'disks[0].throttle': bytesPerSecondMax is 5, and bytesPerSecond is missing",
  ],
  [
    { disks: [{ path: 'a', throttle: { bytesPerSecondMaxLength: 5 } }] },
    'disks',
    "invalid machine option 'disks[0].throttle': bytesPerSecondMaxLength is given without bytesPerSecondMax",
  ],
  [
    { disks: [{ path: 'a', throttle: { operationsPerSecond: 9, operationsPerSecondMax: 5 } }] },
    'disks',
    "invalid machine option 'disks[0].throttle': operationsPerSecondMax is 5, and operationsPerSecond is 9",
  ],
  [
    { disks: [{ path: 'a', throttle: { bytesPerSecond: 1, bytesPerSecondMax: 1e15, bytesPerSecondMaxLength: 2 } }] },
    'disks',
    "invalid machine option 'disks[0].throttle': bytesPerSecondMax is 1000000000000000 for 2 s, which is more than 10^15 in a burst",
  ],
  [{ debugExit: { port: 1 } }, 'debugExit', "unknown machine option 'debugExit.port'"],
  [
    { debugExit: { iosize: 0 } },
    'debugExit',
    "invalid value 0 for machine option 'debugExit.iosize': expected a whole number from 1 to 8",
  ],
  [
    { debugExit: { iobase: 0xffff, iosize: 2 } },
    'debugExit',
    "invalid machine option 'debugExit': 2 ports from 65535 exceed port 65535",
  ],
  [{ serial: { fil: 'a' } }, 'serial', "unknown machine option 'serial.fil'. Did you mean 'file'?"],
  [
    { consoles: [{ target: { fil: 'a' } }] },
    'consoles',
    "unknown machine option 'consoles[0].target.fil'. Did you mean 'file'?",
  ],
  [
    { networks: [{ backend: { tapp: 'a' } }] },
    'networks',
    "unknown machine option 'networks[0].backend.tapp'. Did you mean 'tap'?",
  ],
  [{ noReboot: 'yes' }, 'noReboot', "invalid value 'yes' for machine option 'noReboot': expected a boolean"],
  [{ signal: {} }, 'signal', "invalid value an object for machine option 'signal': expected an AbortSignal"],
]

for (const [options, option, message] of refused) {
  test(`refused: ${JSON.stringify(options)}`, t => {
    const error = t.throws(() => normal(options), { instanceOf: MachineConfigError, code: 'ERR_MACHINE_CONFIG' })
    t.is(error?.option, option)
    t.is(error?.message, message)
    t.true((error?.remedy ?? '').length > 0)
  })
}

test('options that are not an object are refused', t => {
  t.throws(() => normaliseMachineOptions(undefined as unknown as MachineOptions), { instanceOf: MachineConfigError })
})

test('an invalid accelerator is an AccelPropertyError or AcceleratorError', t => {
  t.throws(() => normal({ accel: 'tcg' }), { instanceOf: AcceleratorError })
})
