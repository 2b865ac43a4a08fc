import test from 'ava'
import fc from '../helpers/random.js'
import { refusedOptions } from '../../ts/cli/argv/refused-options.js'
import { runOptions } from '../../ts/cli/argv/run-options.js'
import { runFiles } from '../helpers/run-files.js'
import { resolveRun, type RunRequest } from '../../ts/cli/argv/resolve-run.js'
import { AcceleratorError, AccelPropertyError, MachineConfigError, OptionError } from '../../ts/errors/index.js'
import { normaliseMachineOptions } from '../../ts/machine/config/normal-options.js'
import type { MachineOptions } from '../../ts/machine/config/machine-options.js'

const resolve = (argv: readonly string[], isMultiboot = false): RunRequest =>
  resolveRun(argv, { ...runFiles, isMultiboot: () => isMultiboot })

const resolved = (argv: readonly string[], isMultiboot = false): Extract<RunRequest, { kind: 'run' }> => {
  const request = resolve(['-kernel', 'k', ...argv], isMultiboot)
  if (request.kind !== 'run') throw new Error(request.text)
  return request
}

const machine = (...argv: string[]): MachineOptions => resolved(argv).machine

test('a kernel alone has every default', t => {
  t.deepEqual(resolved([]), {
    kind: 'run',
    machine: { accel: ['kvm'], kernel: 'k', serial: 'null', noReboot: false, noShutdown: false },
    run: { paused: false, noShutdown: false, pidfile: null, stats: null, trace: null, notices: [] },
  })
})

test('the command line of the README is parsed', t => {
  const argv = [
    '-M',
    'microvm',
    '-m',
    '64M',
    '-kernel',
    'v',
    '-initrd',
    'i',
    '-no-reboot',
    '-append',
    'a=b,c',
    '-nographic',
  ]
  t.like(resolved(argv).machine, {
    kernel: 'v',
    initrd: 'i',
    memory: 64 * 1024 * 1024,
    append: 'a=b,c',
    noReboot: true,
    serial: 'stdio',
  })
})

test('the command line of kvm-unit-tests is parsed', t => {
  const argv = ['-nodefaults', '-device', 'isa-debug-exit,iobase=0xf4,iosize=0x4', '-vnc', 'none', '-serial', 'stdio']
  const rest = ['-machine', 'accel=kvm', '-smp', '2', '-append', 'x', '-initrd', 'env', '-cpu', 'max']
  t.like(resolved([...argv, ...rest], true).machine, {
    accel: ['accel=kvm'],
    debugExit: { iobase: 0xf4, iosize: 4 },
    cpus: 2,
    initrd: [{ image: 'env', cmdline: 'env' }],
  })
})

test('one dash and two dashes mean the same', t => {
  t.deepEqual(
    resolve(['--kernel', 'k', '--accel', 'kvm', '--no-reboot']),
    resolve(['-kernel', 'k', '-accel', 'kvm', '-no-reboot']),
  )
})

test('an argument may begin with a dash', t => t.is(machine('-append', '-x').append, '-x'))

test('the last of a repeated option wins', t => {
  t.is(machine('-m', '64M', '-m', '32M').memory, 32 * 1024 * 1024)
  t.is(machine('-kernel', 'other').kernel, 'other')
})

test('-accel may be repeated, -machine accel= is a list, and its properties come first', t => {
  t.deepEqual(machine('-accel', 'tcg', '-accel', 'kvm,notify-window=5').accel, ['tcg', 'kvm,notify-window=5'])
  t.deepEqual(machine('-M', 'accel=tcg:kvm').accel, ['accel=tcg', 'accel=kvm'])
  t.deepEqual(machine('-enable-kvm').accel, ['accel=kvm'])
  t.deepEqual(machine('-M', 'pc,kernel_irqchip=split').accel, ['accel=kvm,kernel-irqchip=split'])
  const accel = machine(
    '-M',
    'kernel-irqchip=on',
    '-M',
    'kvm-shadow-mem=1048576',
    '-accel',
    'kvm,kernel-irqchip=split',
  ).accel
  const [candidate] = normaliseMachineOptions({ kernel: 'k', accel: accel ?? [] }).accel.candidates
  t.like(candidate, { kernelIrqchip: 'split', kvmShadowMem: 1048576 })
})

test('-m accepts QEMU’s forms', t => {
  const mebibytes = (text: string) => Number(machine('-m', text).memory) / 1024 / 1024
  t.deepEqual(['128', '64M', 'size=64M', '1.5G', '0x40', '1000k'].map(mebibytes), [128, 64, 64, 1536, 64, 1000 / 1024])
  t.is(machine('-m', '1.3G').memory, Math.ceil((1.3 * 2 ** 30) / 8192) * 8192)
  t.is(machine('-m', '64M,maxmem=64M').memory, 64 * 1024 * 1024)
  t.is(machine('-m', '0').memory, undefined)
  t.is(machine('-m', '').memory, undefined)
  t.deepEqual(machine('-mem-prealloc').memory, { size: '128M', prealloc: true })
  const file = { size: 64 * 1024 * 1024, prealloc: false, path: '/dev/shm' }
  t.deepEqual(machine('-m', '64M', '-mem-path', '/dev/shm').memory, file)
})

test('-smp accepts QEMU’s forms', t => {
  const cpus = (text: string) => machine('-smp', text).cpus
  t.deepEqual(
    ['2', 'cpus=2', '0x2', 'cores=2', '4,sockets=2,cores=2,threads=1', '2,maxcpus=2', 'maxcpus=3'].map(cpus),
    [2, 2, 2, 2, 4, 2, 3],
  )
  const topology = (text: string) => machine('-smp', text).topology
  t.is(topology('4'), undefined)
  t.deepEqual(topology('8,cores=2'), { sockets: 4, dies: 1, cores: 2, threads: 1 })
  t.deepEqual(topology('8,sockets=2,threads=2'), { sockets: 2, dies: 1, cores: 2, threads: 2 })
})

test('-serial has QEMU’s defaults', t => {
  t.is(machine().serial, 'null')
  t.is(machine('-nographic').serial, 'stdio')
  t.is(machine('-nographic', '-nodefaults').serial, 'null')
  t.is(machine('-nographic', '-serial', 'null').serial, 'null')
  t.deepEqual(machine('-serial', 'none').serials, [null])
  t.deepEqual(machine('-serial', 'file:a:b').serial, { file: 'a:b' })
  t.is(machine('-serial', 'stdio', '-serial', 'none').serial, 'stdio')
  t.is(machine('-serial', 'mon:stdio').serial, 'stdio')
  t.is(machine('-chardev', 'stdio,id=c', '-serial', 'chardev:c').serial, 'stdio')
})

test('-global sets the PIT’s lost tick policy, in both of QEMU’s forms', t => {
  t.is(machine('-global', 'kvm-pit.lost_tick_policy=discard').lostTickPolicy, 'discard')
  const long = 'driver=kvm-pit,property=lost_tick_policy,value=delay'
  t.is(machine('-global', long).lostTickPolicy, 'delay')
})

test('-device isa-debug-exit has QEMU’s defaults', t => {
  const ports = (text: string) => normaliseMachineOptions(machine('-device', text)).debugExit
  t.deepEqual(ports('isa-debug-exit'), { iobase: 0x501, iosize: 2 })
  t.deepEqual(ports('isa-debug-exit,id=x,iosize=4'), { iobase: 0x501, iosize: 4 })
})

test('-initrd is a list of modules for a multiboot kernel, and one file for any other', t => {
  const initrd = 'a x=1,b,,c y,,z'
  t.is(machine('-initrd', initrd).initrd, initrd)
  t.deepEqual(resolved(['-initrd', initrd], true).machine.initrd, [
    { image: 'a', cmdline: 'a x=1' },
    { image: 'b,c', cmdline: 'b,c y,z' },
  ])
})

test('-cpu accepts QEMU’s forms', t => {
  const cpu = (text: string) => machine('-cpu', text).cpu
  t.deepEqual(cpu('host'), { model: 'host' })
  t.deepEqual(cpu('EPYC-v3'), { model: 'EPYC-v3' })
  t.deepEqual(cpu('host,-avx,+sse4_1,avx=on,enforce'), {
    model: 'host',
    features: { 'sse4-1': true, avx: false },
    enforce: true,
  })
  t.deepEqual(cpu('host,kvm=off,pmu=no,migratable=on,check=off'), {
    model: 'host',
    kvm: false,
    pmu: false,
    migratable: true,
    check: false,
  })
  t.is((cpu('host,tsc-frequency=2.5G') as { tscFrequency: number }).tscFrequency, 2_500_000_000)
})

test('ACPI is on by default', t => {
  t.is(machine('-M', 'microvm,acpi=on').acpi, true)
  t.is(machine('-M', 'microvm,acpi=off').acpi, false)
  t.is(machine('-no-acpi').acpi, false)
  t.is(machine('-M', 'dump-guest-core=off').dumpGuestCore, false)
  t.is(machine('-M', 'acpi=auto').acpi, undefined)
  t.is(machine('-M', 'auto-kernel-cmdline=off').autoKernelCmdline, false)
})

test('-overcommit cpu-pm= and -machine bus-lock-ratelimit= set their options', t => {
  t.is(machine('-overcommit', 'cpu-pm=on').cpuPm, true)
  t.is(machine('-overcommit', 'mem-lock=off,cpu-pm=off').cpuPm, false)
  t.is(machine('-M', 'pc,bus-lock-ratelimit=7').busLockRatelimit, 7)
})

test('-machine properties that describe the board are accepted', t => {
  const { machine: options, run } = resolved(['-M', 'microvm,acpi=auto,rtc=off,pit=on,pic=on,isa-serial=on,usb=off'])
  t.deepEqual(run.notices, [])
  t.deepEqual(normaliseMachineOptions(options), normaliseMachineOptions(machine()))
})

test('-machine hpet=on adds the HPET, and the last of it and -no-hpet counts', t => {
  t.is(machine('-M', 'pc').hpet, undefined)
  t.is(machine('-M', 'pc,hpet=on').hpet, true)
  t.is(machine('-M', 'pc,hpet=on', '-no-hpet').hpet, false)
  t.is(machine('-no-hpet', '-M', 'pc,hpet=on').hpet, true)
})

test('-M microvm omits optional devices, as in QEMU', t => {
  t.like(machine('-M', 'microvm,isa-serial=off,pic=off,pit=off,rtc=on'), { serials: [null], pic: false, pit: false })
  t.like(machine('-M', 'microvm,isa-serial=off', '-serial', 'file:lost'), { serials: [null] })
  t.like(machine('-M', 'microvm,isa-serial=off', '-device', 'isa-serial'), { serial: 'null' })
  t.like(machine('-serial', 'none', '-serial', 'pty'), { serials: [null, 'pty'] })
})

test('options of the process are separate from those of the machine', t => {
  t.like(resolved(['-S', '-no-shutdown', '-pidfile', 'p', '-name', 'guest=n', '-display', 'none', '-no-user-config']), {
    machine: { noShutdown: true, name: 'n' },
    run: { paused: true, noShutdown: true, pidfile: 'p' },
  })
})

for (const [argv, text] of [
  [['-help'], /^Usage: kvm-accel run/],
  [['--help'], /notify-budget=N\/T/],
  [['-h'], /Exit status/],
  [['-version'], /^kvm-accel version \d/],
  [['-accel', 'help'], /^Accelerators supported by kvm-accel:\nkvm$/],
  [['-accel', '?'], /kvm/],
  [['-M', 'help'], /^Supported machines are:\nmicrovm/],
  [['-M', '?'], /microvm/],
  [['-accel', 'kvm,help'], /^kvm-accel options:\n {2}device=PATH +The KVM device\. Default: \/dev\/kvm\.\n/],
  [['-accel', 'kvm,notify-window=5,?'], /^ {2}notify-required=on\|off +Fails.*\n.*Default: off\.$/m],
  [['-M', 'pc,help'], /^pc options:\n(?:.*\n)* {2}usb=off +Fixed: there is no USB\.$/m],
  [['-M', 'help', '-nosuch'], /^microvm +\S/m],
  [
    ['-cpu', 'help'],
    /^Available CPUs:\n(?:.*\n)*x86 EPYC\n(?:.*\n)* {2}phys-bits=.+The number of physical address bits/,
  ],
  [['-netdev', 'help'], /^Available netdev backend types:\ntap\nuser\nstream$/],
  [['-netdev', 'tap,help'], /^tap options:\n(?: .*\n)* {2}ifname=NAME$/m],
  [['-object', 'help'], /^List of user creatable objects:\n {2}rng-random$/m],
  [['-object', 'rng-random,help'], /^rng-random options:\n {2}filename=PATH +The file from which/],
  [['-chardev', 'help'], /^Available chardev backend types:\n {2}stdio$/m],
  [['-chardev', 'socket,help'], /^socket options:\n(?: .*\n)* {2}server=on\|off +Listens on the socket\./m],
  [['-device', 'virtio-balloon-device,help'], /^ {2}deflate-on-oom=on\|off +Lets a guest/m],
  [['-device', 'help'], /isa-debug-exit/],
  [['-version', '-nosuch'], /version/],
] as const) {
  test(`${argv.join(' ')} prints`, t => {
    const request = resolve(argv)
    t.is(request.kind, 'print')
    if (request.kind === 'print') t.regex(request.text, text)
  })
}

const refused: readonly (readonly [argv: readonly string[], option: string, message: RegExp])[] = [
  [['-kernel', 'k', '-global', 'kvm-pit.lost_tick_policy=catchup'], '-global', /delay\|discard, and not 'catchup'/],
  [['-kernel', 'k', '-global', 'kvm-pit.iobase=1'], '-global', /kvm-pit: unknown parameter 'iobase'/],
  [['-nosuch'], '-nosuch', /-nosuch: kvm-accel does not have this option/],
  [['--drives', 'x'], '-drives', /--drives.*Did you mean '-drive'/],
  [['-kernal', 'x'], '-kernal', /Did you mean '-kernel'/],
  [['-accel=kvm'], '-accel=kvm', /-accel=kvm/],
  [['disk.img'], 'disk.img', /disk image/],
  [['-'], '-', /is not an option/],
  [['-kernel'], '-kernel', /requires an argument/],
  [[], '-kernel', /missing/],
  [['-append', 'x'], '-append', /only allowed with -kernel/],
  [['-initrd', 'x'], '-initrd', /only allowed with -kernel/],
  [['-accel', 'kvm', '-M', 'accel=kvm'], '-accel', /exclude each other/],
  [['-enable-kvm', '-accel', 'kvm'], '-accel', /exclude each other/],
  [['-M', 'q35'], '-machine', /'q35'/],
  [['-M', 'micorvm'], '-machine', /Did you mean 'microvm'/],
  [['-M', 'pc,foo=1'], '-machine', /unknown property 'foo'/],
  [['-M', 'notify-vmexit=run'], '-machine', /unknown property 'notify-vmexit'/],
  [['-M', 'microvm,acpi'], '-machine', /expects '=' after 'acpi'/],
  [['-M', 'microvm,usb=on'], '-machine', /usb=on.*no USB/],
  [['-M', 'microvm,pit=bad'], '-machine', /pit=bad/],
  [['-cpu', 'EPIC'], '-cpu', /Did you mean 'EPYC'/],
  [['-cpu', 'host,-avx3'], '-cpu', /feature 'avx3'. Did you mean 'avx2?'/],
  [['-cpu', 'host,avx=maybe'], '-cpu', /on or off/],
  [['-cpu', 'host,tsc-frequency=x'], '-cpu', /number of Hz/],
  [['-overcommit', 'mem-lock=on'], '-overcommit', /mem-lock=on/],
  [['-M', 'bus-lock-ratelimit=x'], '-machine', /expects a number/],
  [['-smp', '8,clusters=2'], '-smp', /clusters/],
  [['-m', '64MB'], '-m', /64MB/],
  [['-m', '1.5'], '-m', /1\.5/],
  [['-m', '99999999T'], '-m', /2\^53/],
  [['-m', '64M,maxmem=128M'], '-m', /maxmem=128M/],
  [['-m', '64M,slots=2'], '-m', /'slots'/],
  [['-smp', '0'], '-smp', /1 to 255/],
  [['-smp', '256'], '-smp', /1 to 255/],
  [['-smp', 'abc'], '-smp', /'abc'/],
  [['-smp', '1k'], '-smp', /'1k'/],
  [['-smp', 'cpus=2,foo=1'], '-smp', /'foo'/],
  [['-smp', '2,maxcpus=4'], '-smp', /maxcpus=4/],
  [['-smp', '2,cores=3'], '-smp', /cores=3 does not match 2/],
  [['-smp', 'cores=16,threads=16'], '-smp', /does not match 256/],
  [['-device', 'isa-debug-exit,foo=1'], '-device', /'foo'/],
  [['-device', 'isa-debug-exit,iobase=zz'], '-device', /'zz'/],
  [['-device', 'isa-debug-exit,iobase=70000'], '-device', /0…65535, and not '70000'/],
  [['-device', 'isa-debug-exit,iosize=0'], '-device', /1…8, and not '0'/],
  [['-serial', 'bad'], '-serial', /'bad'/],
  [['-serial', 'file:'], '-serial', /'file:'/],
  [['-serial', 'stdio', '-serial', 'bad'], '-serial', /'bad'/],
  [['-display', 'gtk'], '-display', /'gtk'/],
  [['-vnc', ':0'], '-vnc', /':0'/],
  [['-name', 'n,process=p'], '-name', /'process'/],
]

for (const [argv, option, message] of refused) {
  test(`refused: ${argv.join(' ') || '(nothing)'}`, t => {
    const error = t.throws(() => resolve(argv), { instanceOf: OptionError, code: 'ERR_OPTION' })
    t.is(error?.option, option)
    t.regex(error?.message ?? '', message)
    t.true((error?.remedy ?? '').length > 0)
  })
}

test('an invalid accelerator fails with its own error', t => {
  t.throws(() => machine('-accel', 'kvm:tcg'), { instanceOf: AcceleratorError })
  t.throws(() => machine('-M', 'accel=foo:bar'), { instanceOf: AcceleratorError, message: /'foo'.*'bar'/ })
  t.throws(() => machine('-accel', 'kvm,bad=1', '-accel', 'tcg'), { instanceOf: AccelPropertyError })
  t.throws(() => machine('-M', 'kernel-irqchip=auto'), { instanceOf: AccelPropertyError, message: /kernel-irqchip/ })
})

// The normal form.

const printed = (...argv: string[]): string => {
  const request = resolve(['-kernel', 'k', ...argv, '--print-config'])
  return request.kind === 'print' ? request.text : ''
}

const configured = (text: string, ...argv: string[]): Extract<RunRequest, { kind: 'run' }> => {
  const request = resolveRun(['--config', 'c', ...argv], { ...runFiles, readText: () => text })
  if (request.kind !== 'run') throw new Error(request.text)
  return request
}

/** Fragments of command lines, one of each option that a machine has. */
const fragments = [
  ['-accel', 'kvm,notify-vmexit=internal-error,notify-budget=5/60,kvm-shadow-mem=4194304'],
  ['-accel', 'kvm,notify-vmexit=disable,kernel-irqchip=split'],
  ['-accel', 'kvm,device=/dev/other,notify-required=on'],
  ['-M', 'microvm,isa-serial=off,pic=off,pit=off,rtc=on'],
  ['-M', 'microvm,isa-serial=off,rtc=off', '-serial', 'file:log', '-device', 'isa-serial'],
  ['-M', 'microvm,acpi=off,bus-lock-ratelimit=7,auto-kernel-cmdline=off'],
  ['-cpu', 'EPYC,+avx,-sse4.1,pmu=on,tsc-frequency=2000000'],
  ['-smp', '8,cores=2'],
  ['-overcommit', 'cpu-pm=on'],
  ['-m', '1032k'],
  ['-m', '1.5G'],
  ['-mem-path', '/dev/shm'],
  ['-object', 'memory-backend-memfd,id=m,size=64M,hugetlb=on', '-M', 'memory-backend=m'],
  ['-initrd', 'i'],
  ['-append', 'a=b "c"'],
  ['-serial', 'file:log'],
  ['-nographic'],
  ['-serial', 'pty'],
  ['-serial', 'none'],
  ['-serial', 'none', '-serial', 'file:log', '-serial', 'none', '-serial', 'pty'],
  ['-serial', 'unix:/s,server=on,wait=off'],
  ['-chardev', 'socket,id=s,host=localhost,port=4444', '-serial', 'chardev:s'],
  ['-device', 'isa-debug-exit'],
  ['-debugcon', 'file:log'],
  ['-chardev', 'null,id=d', '-device', 'isa-debugcon,iobase=0x402,chardev=d'],
  ['-rtc', 'base=2030-01-01T12:00:00,clock=vm'],
  ['-rtc', 'base=localtime'],
  ['-bios', 'b'],
  ['-device', 'pc-testdev'],
  ['-device', 'pvpanic'],
  ['-device', 'vmgenid'],
  ['-device', 'vmgenid,guid=00112233-4455-6677-8899-AABBCCDDEEFF'],
  ['-device', 'vhost-vsock-device,guest-cid=3,path=/v'],
  ['-chardev', 'null,id=c', '-device', 'virtio-serial-device', '-device', 'virtconsole,chardev=c'],
  ['-device', 'virtio-balloon-device,deflate-on-oom=on,free-page-reporting=on,guest-stats-polling-interval=2'],
  ['-fw_cfg', 'opt/a,string=b', '-fw_cfg', 'opt/c,file=d'],
  ['-drive', 'file=d,format=raw,if=virtio,readonly=on,bps=1000,bps_max=2000,discard=unmap'],
  ['-blockdev', 'qcow2,node-name=q,file.driver=file,file.filename=q', '-device', 'virtio-blk-device,drive=q'],
  ['-drive', 'file=e,if=none,id=e', '-device', 'virtio-blk-device,drive=e,serial=S'],
  ['-device', 'virtio-rng-device,max-bytes=1024,period=1000'],
  ['-device', 'virtio-rng-device'],
  ['-global', 'kvm-pit.lost_tick_policy=discard'],
  ['-no-reboot'],
  ['-no-shutdown'],
  ['-name', 'n'],
  ['-trace', 'kvm_*'],
]

test('--config accepts the output of --print-config', t => {
  fc.assert(
    fc.property(fc.subarray(fragments), chosen => {
      const argv = chosen.flat()
      let machine
      try {
        machine = normaliseMachineOptions(resolved(argv).machine)
      } catch {
        // Some options exclude each other.
        return
      }
      const text = printed(...argv)
      const { candidates, warnings: _ } = machine.accel
      const again = normaliseMachineOptions(configured(text).machine)
      t.deepEqual(
        { ...again, accel: { candidates, warnings: [] } },
        { ...machine, accel: { candidates, warnings: [] } },
      )
      t.deepEqual(again.accel.candidates, candidates)
    }),
  )
})

for (const argv of fragments) {
  test(`${argv.join(' ')} survives --print-config and --config`, t => {
    t.deepEqual(
      normaliseMachineOptions(configured(printed(...argv)).machine),
      normaliseMachineOptions(resolved(argv).machine),
    )
  })
}

test('--print-config prints every option, and --config accepts sizes like those of -m', t => {
  t.like(JSON.parse(printed('-m', '64M')), {
    kernel: 'k',
    kernelFormat: 'auto',
    memory: { size: '64M', backend: 'anonymous' },
    cpus: 1,
    cpu: { model: 'host' },
    serial: 'null',
    debugExit: false,
  })
})

test('beside --config only options of the process are accepted', t => {
  t.like(configured('{"kernel":"k","memory":"64M"}', '-no-reboot', '-S', '-pidfile', 'p'), {
    machine: { kernel: 'k', memory: '64M', noReboot: true },
    run: { paused: true, pidfile: 'p' },
  })
  for (const [text, argv, message] of [
    ['{"kernel":"k"}', ['-m', '64M'], /-config and -m exclude each other/],
    ['{"kernel":', [], /cannot read 'c'/],
    ['{"kernel":"k","serial":"stream"}', [], /target 'stream'/],
  ] as const) {
    t.throws(() => configured(text, ...argv), { instanceOf: OptionError, message })
  }
  t.throws(() => configured('{"kernel":"k","memroy":1}'), {
    instanceOf: MachineConfigError,
    message: /Did you mean 'memory'/,
  })
})

test('options that only QEMU has are refused with a remedy', t => {
  for (const { names, lacks, remedy } of refusedOptions) {
    for (const name of names) {
      t.is(
        runOptions.find(option => option.name === name),
        undefined,
        name,
      )
      t.throws(() => resolve([name]), { instanceOf: OptionError, message: `${name}: kvm-accel has no ${lacks}` })
    }
    t.true(remedy.length > 0)
  }
})
