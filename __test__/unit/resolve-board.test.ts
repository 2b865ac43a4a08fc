// Tests how a command line becomes the options of devices.

import test from 'ava'
import type { BoardDraft } from '../../ts/cli/draft/board-draft.js'
import { deviceModels } from '../../ts/cli/devices/index.js'
import { resolveBoard } from '../../ts/cli/argv/draft-machine.js'
import { readArgv } from '../../ts/cli/argv/read-argv.js'
import { runFiles } from '../helpers/run-files.js'
import { resolveRun } from '../../ts/cli/argv/resolve-run.js'
import { memoryOption } from '../../ts/cli/options/memory.js'
import type { RunDraft } from '../../ts/cli/draft/run-draft.js'
import { OptionError } from '../../ts/errors/index.js'

const draft = (...argv: string[]): RunDraft => {
  const read = readArgv(argv)
  if (typeof read === 'string') throw new Error(read)
  return read
}

const board = (...argv: string[]): BoardDraft => resolveBoard(draft(...argv)).devices

const raw = { format: 'raw', readOnly: false, discard: false } as const

test('-drive if=virtio is a disk, if=none needs a -device, and disks of -drive come last, as in QEMU', t => {
  const argv = ['-drive', 'file=a,if=virtio', '-drive', 'file=b,,c,if=none,id=d,format=raw,readonly=on']
  t.deepEqual(board(...argv, '-device', 'virtio-blk-device,drive=d,serial=S1,id=x').disks, [
    { format: 'raw', path: 'b,c', readOnly: true, id: 'x', serial: 'S1' },
    { path: 'a', id: 'virtio0' },
  ])
})

test('under -M microvm a -drive needs a -device', t => {
  const argv = ['-M', 'microvm', '-drive', 'id=d,file=a', '-device', 'virtio-blk-device,drive=d']
  t.deepEqual(board(...argv).disks, [{ path: 'a', id: 'd' }])
})

test('-drive sets discard and limits, in both spellings', t => {
  const disk = (text: string, device = '') =>
    board('-drive', `file=a,if=none,id=d,${text}`, '-device', `virtio-blk-device,drive=d${device}`).disks[0]
  t.is(disk('discard=unmap')?.discard, true)
  t.is(disk('discard=ignore', ',discard=on')?.discard, false)
  const limits = 'throttling.bps-total=1048576,iops=100,iops_max=200,throttling.iops-total-max-length=3,iops_size=4096'
  t.deepEqual(disk(limits)?.throttle, {
    bytesPerSecond: 1048576,
    operationsPerSecond: 100,
    operationsPerSecondMax: 200,
    operationsPerSecondMaxLength: 3,
    operationSize: 4096,
  })
  t.deepEqual(
    disk('throttling.bps-read=1,throttling.iops-write=2,iops_wr_max=3,bps_rd_max_length=4,bps_rd_max=5')?.throttle,
    {
      reads: { bytesPerSecond: 1, bytesPerSecondMax: 5, bytesPerSecondMaxLength: 4 },
      writes: { operationsPerSecond: 2, operationsPerSecondMax: 3 },
    },
  )
  t.is(disk('bps=0')?.throttle, undefined)
  t.truthy(disk('cache=none,aio=native,snapshot=off,media=disk,werror=report,cache.direct=on,detect-zeroes=off'))
})

test('-blockdev accepts dotted keys, JSON, and nodes by name', t => {
  const disks = (...nodes: string[]) =>
    board(...nodes.flatMap(node => ['-blockdev', node]), '-device', 'virtio-blk-device,drive=n').disks
  const disk = { ...raw, path: 'f', id: 'n' }
  t.deepEqual(disks('driver=file,node-name=n,filename=f'), [disk])
  t.deepEqual(disks('driver=qcow2,node-name=n,file.driver=file,file.filename=f,read-only=on'), [
    { ...disk, format: 'qcow2', readOnly: true },
  ])
  t.deepEqual(disks('driver=file,node-name=low,filename=f,discard=unmap', 'raw,node-name=n,file=low,discard=unmap'), [
    { ...disk, discard: true },
  ])
  const json = '{"driver":"qcow2","node-name":"n","read-only":false,"file":{"driver":"file","filename":"f"}}'
  t.deepEqual(disks(json), [{ ...disk, format: 'qcow2' }])
})

test('-netdev and -device create networks', t => {
  const networks = (netdev: string, device = '') =>
    board('-netdev', netdev, '-device', `virtio-net-device,netdev=n${device}`).networks
  t.deepEqual(networks('tap,id=n,ifname=tap0,script=no,downscript=no', ',mac=52:54:00:AA:bb:cc,host_mtu=1400,id=e'), [
    { backend: { tap: 'tap0' }, mac: '52:54:00:aa:bb:cc', mtu: 1400, id: 'e' },
  ])
  t.deepEqual(networks('user,id=n'), [{ backend: { user: { forwards: [] } } }])
  t.deepEqual(networks('user,id=n,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp::53-:5353'), [
    {
      backend: {
        user: {
          forwards: [
            { protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 8080, guestPort: 80 },
            { protocol: 'udp', hostPort: 53, guestPort: 5353 },
          ],
        },
      },
    },
  ])
  t.deepEqual(networks('{"type":"stream","id":"n","addr":{"type":"unix","path":"/s"}}'), [
    { backend: { stream: '/s' } },
  ])
})

test('virtio-rng-device works with and without a source', t => {
  t.deepEqual(board('-device', 'virtio-rng-device').rng, {})
  const argv = ['-object', 'rng-random,id=r,filename=/dev/random', '-device', 'virtio-rng-device,rng=r,period=1000']
  t.deepEqual(board(...argv, '-M', 'pc').rng, { source: '/dev/random', period: 1000 })
  t.deepEqual(board('-object', 'rng-builtin,id=r', '-device', 'virtio-rng-device,rng=r,max-bytes=1k').rng, {
    source: '/dev/urandom',
    maxBytes: 1024,
  })
})

test('-object memory-backend-* sets guest memory', t => {
  const memory = (object: string, ...more: string[]) =>
    memoryOption(draft('-object', object, '-M', 'pc,memory-backend=m', ...more)).memory
  const size = 128 * 2 ** 20
  t.deepEqual(memory('memory-backend-memfd,id=m,size=128M', '-m', '128M'), {
    backend: 'memfd',
    size,
    share: true,
    prealloc: false,
  })
  t.deepEqual(memory('memory-backend-memfd,id=m,size=128M,hugetlb=on,hugetlbsize=1G,prealloc=on'), {
    backend: 'memfd',
    size,
    share: true,
    prealloc: true,
    hugePages: '1G',
  })
  t.deepEqual(memory('memory-backend-file,id=m,size=128M,mem-path=/dev/shm,share=on'), {
    backend: 'file',
    path: '/dev/shm',
    size,
    share: true,
    prealloc: false,
  })
  t.like(memory('memory-backend-ram,id=m,size=128M'), { backend: 'anonymous', size })
})

test('virtconsole and virtserialport create consoles and channels', t => {
  const argv = ['-chardev', 'stdio,id=c,mux=on,signal=off', '-chardev', 'socket,id=s,path=/s,server=on,wait=off']
  const devices = ['virtio-serial-device', 'virtconsole,chardev=c', 'virtserialport,chardev=s,name=org.example.0']
  t.deepEqual(board(...argv, ...devices.flatMap(device => ['-device', device])).consoles, [
    { target: 'stdio' },
    {
      target: { socket: '/s', server: true, wait: false },
      name: 'org.example.0',
    },
  ])
})

test('serial ports: by -serial in order, then by -device isa-serial', t => {
  t.deepEqual(board('-serial', 'none', '-serial', 'file:f', '-serial', 'pty').serials, [null, { file: 'f' }, 'pty'])
  const argv = ['-chardev', 'null,id=c', '-serial', 'stdio', '-device', 'isa-serial,chardev=c,index=2']
  t.deepEqual(board(...argv, '-device', 'isa-serial').serials, ['stdio', null, 'null', 'null'])
  t.deepEqual(board('-serial', 'tcp::4444,server=on').serials, [{ socket: { port: 4444 }, server: true, wait: true }])
  t.deepEqual(board('-serial', 'unix:/s,server,nowait').serials, [{ socket: '/s', server: true, wait: false }])
})

test('-device creates devices at fixed ports', t => {
  t.like(board('-debugcon', 'file:log', '-device', 'pvpanic', '-device', 'vmgenid', '-device', 'pc-testdev'), {
    debugConsole: { port: 0xe9, target: { file: 'log' } },
    pvpanic: true,
    vmGenerationId: 'auto',
    testDevices: true,
  })
  const argv = ['-chardev', 'stdio,id=d', '-device', 'isa-debugcon,iobase=0x402,chardev=d']
  t.deepEqual(board(...argv).debugConsole, { port: 0x402, target: 'stdio' })
  t.is(board('-device', 'vmgenid,guid=00112233-4455-6677-8899-AABBCCDDEEFF').vmGenerationId?.slice(-2), 'ff')
  t.deepEqual(board('-device', 'pci-testdev').disks, [])
})

test('-device creates vsock and balloon', t => {
  t.deepEqual(board('-device', 'vhost-vsock-device,guest-cid=3').vsock, { cid: 3 })
  t.deepEqual(board('-device', 'virtio-vsock-device,guest-cid=0x10,path=/v').vsock, { cid: 16, path: '/v' })
  t.deepEqual(board('-device', '{"driver":"virtio-balloon-device","deflate-on-oom":true}').balloon, {
    deflateOnOom: true,
  })
  const polled = '-device virtio-balloon-device,free-page-reporting=on,guest-stats-polling-interval=2'
  t.deepEqual(board(...polled.split(' ')).balloon, {
    freePageReporting: true,
    statisticsInterval: 2000,
  })
})

test('an unused object causes a warning', t => {
  const argv = ['-drive', 'file=a,if=none,id=d', '-netdev', 'user,id=n', '-chardev', 'null,id=c']
  const lower = ['-blockdev', 'file,node-name=low,filename=f', '-blockdev', 'raw,node-name=top,file=low']
  t.deepEqual(resolveBoard(draft(...argv, ...lower)).unused(), [
    "-drive or -blockdev: nothing uses 'd'",
    "-drive or -blockdev: nothing uses 'top'",
    "-netdev: nothing uses 'n'",
    "-chardev: nothing uses 'c'",
  ])
})

test('-fw_cfg, -bios and -rtc set fw_cfg, firmware and the clock', t => {
  const { fwCfg, firmware, rtc, notices } = draft(
    ...['-fw_cfg', 'name=opt/a,string=b=c', '-fw_cfg', 'opt/f,file=p', '-fw_cfg', 'name=x,string='],
    ...['-bios', 'bios.bin', '-rtc', 'base=2001-02-03T04:05:06,clock=vm', '-boot', 'order=c,strict=on,menu=off'],
  )
  t.deepEqual(Object.fromEntries(fwCfg), { 'opt/a': { string: 'b=c' }, 'opt/f': { file: 'p' }, x: { string: '' } })
  t.is(firmware, 'bios.bin')
  t.deepEqual(rtc, { base: new Date('2001-02-03T04:05:06Z'), clock: 'vm' })
  t.is(notices.length, 1)
  t.deepEqual(draft('-rtc', 'base=localtime').rtc, { base: 'localtime' })
})

test('-machine sets the board’s options', t => {
  t.like(draft('-M', 'microvm,kernel=k,append=a=b,firmware=f'), { kernel: 'k', append: 'a=b', firmware: 'f' })
  t.is(draft('-no-acpi').machine.get('acpi'), 'off')
})

for (const { name } of deviceModels) {
  test(`-device ${name},help prints its properties`, t => {
    const text = readArgv(['-device', `${name},help`])
    t.is(typeof text, 'string')
    t.regex(String(text), new RegExp(`^${name} options:\n(?: .*\n)* {2}id=ID$`, 'm'))
  })
}

const refused: readonly (readonly [argv: readonly string[], message: RegExp, remedy?: RegExp])[] = [
  [['-drive', 'if=virtio'], /needs file=/],
  [['-drive', 'file=a'], /without if= is an IDE disk/, /if=virtio/],
  [['-drive', 'file=a,if=ide'], /if=ide/],
  [['-drive', 'file=a,if=virtio,media=cdrom'], /media=cdrom.*CD-ROM/],
  [['-drive', 'file=a,if=virtio,snapshot=on'], /snapshot=on/, /snapshot=off/],
  [['-drive', 'file=a,if=virtio,cache=writethrough'], /cache=writethrough/],
  [['-drive', 'file=a,if=virtio,formt=raw'], /'formt'. Did you mean 'format'/],
  [['-drive', 'file=a,if=virtio,format=vmdk'], /raw\|qcow2, and not 'vmdk'/],
  [['-drive', 'file=a,if=virtio,throttling.bps-totl=1'], /Did you mean 'throttling.bps-total'/],
  [['-drive', 'file=a,if=virtio,bps=1k'], /bps= expects a whole number/],
  [['-drive', 'file=a,if=none,id=d', '-drive', 'file=b,if=none,id=d'], /id 'd' is already in use/],
  [['-drive', 'file=a,if=none,id=0d'], /id= expects ID, and not '0d'/],
  [['-blockdev', 'driver=file,filename=f'], /needs node-name=/],
  [['-blockdev', 'driver=vmdk,node-name=n'], /'vmdk'/],
  [['-blockdev', 'driver=qcow2,node-name=n,file=low'], /unknown node 'low'/],
  [['-blockdev', 'driver=qcow2,node-name=n,filename=f'], /expects file= or file.filename=, not filename=/],
  [['-blockdev', 'driver=file,node-name=n,file.filename=f'], /expects filename=, not file=/],
  [['-blockdev', '{"driver"'], /invalid JSON/],
  [
    [
      '-blockdev',
      'file,node-name=l,filename=f',
      '-blockdev',
      'raw,node-name=a,file=l',
      '-blockdev',
      'raw,node-name=b,file=l',
    ],
    /'l' is (already )?in use/,
  ],
  [
    [
      '-blockdev',
      'file,node-name=l,filename=f',
      '-blockdev',
      'raw,node-name=a,file=l',
      '-device',
      'virtio-blk-device,drive=l',
    ],
    /'l' is (already )?in use/,
  ],
  [['-device', 'virtio-blk-device'], /needs drive=/],
  [
    ['-drive', 'file=a,if=none,id=disk0', '-device', 'virtio-blk-device,drive=disk1'],
    /unknown drive 'disk1'. Did you mean 'disk0'/,
  ],
  [
    ['-drive', 'file=a,if=none,id=d', '-device', 'virtio-blk-device,drive=d', '-device', 'virtio-blk-device,drive=d'],
    /drive 'd' is in use/,
  ],
  [['-device', 'virtio-blk-pci,drive=d'], /'virtio-blk-pci'/, /use '-device virtio-blk-device'/],
  [['-device', 'virtio-net'], /'virtio-net'/, /use '-device virtio-net-device'/],
  [['-device', 'e1000'], /'e1000'/, /-device help/],
  [['-device', 'virtio-rng-device,packed=on'], /packed=on.*split rings/],
  [['-device', 'virtio-rng-device,maxbytes=1'], /Did you mean 'max-bytes'/],
  [['-device', 'virtio-rng-device,rng=r'], /unknown object 'r'/, /-object/],
  [['-device', 'virtio-rng-device', '-device', 'virtio-rng-device'], /given twice: a machine has at most one/],
  [['-device', 'pvpanic,id=p', '-device', 'vmgenid,id=p'], /device id 'p' is already in use/],
  [['-device', 'virtconsole'], /needs a bus/, /virtio-serial-device/],
  [['-device', 'virtio-serial-device', '-device', 'virtserialport'], /name/, /name=org\.example\.agent/],
  [['-device', 'virtio-net-device'], /needs netdev=/],
  [['-device', 'virtio-net-device,netdev=n'], /unknown netdev 'n'/],
  [['-netdev', 'user,id=n', '-device', 'virtio-net-device,netdev=n,mac=1'], /mac= expects/],
  [['-netdev', 'user'], /needs id=/],
  [['-netdev', 'tap,id=n,ifname=t,script=/etc/qemu-ifup'], /script=\/etc\/qemu-ifup/],
  [['-netdev', 'bridge,id=n'], /'bridge'/],
  [['-netdev', 'user,id=n,hostfwd=tcp::80'], /hostfwd= expects/],
  [['-netdev', 'user,id=n,hostfwd=tcp::80-10.0.2.15:80'], /guest's address/, /hostfwd=tcp::80-:80/],
  [['-netdev', 'stream,id=n,addr.type=inet'], /addr.type=inet/],
  [['-netdev', 'user,id=n', '-netdev', 'user,id=n'], /id 'n' is already in use/],
  [['-object', 'iothread,id=i'], /'iothread'/],
  [['-object', 'rng-random'], /needs id=/],
  [['-object', 'memory-backend-memfd,id=m'], /needs size=/],
  [['-object', 'memory-backend-memfd,id=m,size=64M,hugetlb=on,hugetlbsize=4M'], /2M or 1G/],
  [['-object', 'memory-backend-ram,id=m,size=64M', '-device', 'virtio-rng-device,rng=m'], /and not memory/],
  [['-chardev', 'udp,id=c'], /'udp'/],
  [['-chardev', 'stdio'], /needs id=/],
  [['-chardev', 'file,id=c'], /needs path=/],
  [['-chardev', 'socket,id=c'], /needs either path=, or host=/],
  [['-chardev', 'socket,id=c,path=p,wait=off'], /needs server=on/],
  [['-chardev', 'null,id=c', '-serial', 'chardev:c', '-debugcon', 'chardev:c'], /'c' is in use/],
  [['-serial', 'stdio', '-debugcon', 'stdio'], /stdio is in use by -serial/],
  [['-nographic', '-chardev', 'stdio,id=c'], /stdio is in use by -chardev/],
  [['-serial', 'chardev:c'], /unknown chardev 'c'/],
  [Array.from({ length: 5 }, () => ['-serial', 'null']).flat(), /given 5 times/],
  [['-serial', 'null', '-device', 'isa-serial,index=0'], /COM1 is already in use/],
  [['-device', 'isa-serial,iobase=0x100'], /invalid iobase=256/],
  [['-device', 'vhost-vsock-device'], /needs guest-cid=/],
  [['-device', 'vhost-vsock-device,guest-cid=2'], /'2'/],
  [['-fw_cfg', 'string=x'], /needs name=/],
  [['-fw_cfg', 'name=opt/a'], /needs either/],
  [['-fw_cfg', 'opt/a,string=x', '-fw_cfg', 'opt/a,string=y'], /already/],
  [['-boot', 'order=n'], /order=n/],
  [['-rtc', 'base=tomorrow'], /'tomorrow'/],
  [['-rtc', 'driftfix=slew'], /driftfix=slew/],
  [['-sandbox', 'on'], /'on'/],
  [['-monitor', 'stdio'], /'stdio'/, /no monitor/],
  [['-M', 'memory-backend=m'], /unknown memory object 'm'/],
]

for (const [argv, message, remedy = /./] of refused) {
  test(`refused: ${argv.join(' ')}`, t => {
    const error = t.throws(() => resolveRun([...argv, '-kernel', 'k'], runFiles), { instanceOf: OptionError })
    t.regex(error?.message ?? '', message)
    t.regex(error?.remedy ?? '', remedy)
  })
}
