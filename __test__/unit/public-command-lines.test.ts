// Command lines of public tools and guides: each runs, or the error names the part that cannot work.

import test from 'ava'
import { resolveRun } from '../../ts/cli/argv/resolve-run.js'
import { OptionError } from '../../ts/errors/index.js'
import { runFiles } from '../helpers/run-files.js'

/** Splits a line at spaces outside quotes. */
const words = (line: string): string[] =>
  [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '')

const request = (line: string, files = runFiles) => {
  const found = resolveRun(words(line), files)
  if (found.kind !== 'run') throw new Error(found.text)
  return found
}

const refusal = (line: string, files = runFiles): string => {
  try {
    request(line, files)
  } catch (error) {
    if (error instanceof OptionError) return `${error.message} ${error.remedy}`
    throw error
  }
  return 'accepted'
}

const image = '-drive id=test,file=test.img,format=raw,if=none -device virtio-blk-device,drive=test'
const tap = '-netdev tap,id=tap0,script=no,downscript=no -device virtio-net-device,netdev=tap0'
const host = '-enable-kvm -cpu host -m 512m -smp 2 -kernel vmlinux -nodefaults -no-user-config -nographic'

test('the command lines of the page about microvm run', t => {
  const { machine } = request(`-M microvm ${host} -append 'console=ttyS0 root=/dev/vda' -serial stdio ${image} ${tap}`)
  t.like(machine, {
    kernel: 'vmlinux',
    cpus: 2,
    serial: 'stdio',
    networks: [{ backend: { tap: { create: 'tap%d' } } }],
  })
  const console = '-chardev stdio,id=virtiocon0 -device virtio-serial-device -device virtconsole,chardev=virtiocon0'
  const small = 'x-option-roms=off,pit=off,pic=off,isa-serial=off,rtc=off'
  t.like(
    request(`-M microvm,${small} ${host} -append 'console=hvc0 root=/dev/vda' ${console} ${image} ${tap}`).machine,
    {
      pit: false,
      pic: false,
      consoles: [{ target: 'stdio' }],
    },
  )
})

test('a machine with the devices of Firecracker runs', t => {
  const drive =
    '-drive file=rootfs.ext4,format=raw -drive id=root,file=root.ext4,format=raw -device virtio-blk-device,drive=root'
  const network = '-netdev tap,id=net0,ifname=tap0,script=no,downscript=no -device virtio-net-device,netdev=net0'
  const vsock = '-device vhost-vsock-device,guest-cid=3'
  const line = `${drive} ${network} ${vsock} -machine microvm,accel=kvm -global virtio-mmio.force-legacy=false`
  const { machine, run } = request(`${line} -kernel vmlinux -append 'reboot=t panic=-1' -no-reboot -display none`)
  t.like(machine, { disks: [{ path: 'root.ext4' }], networks: [{ backend: { tap: 'tap0' } }], vsock: { cid: 3 } })
  t.deepEqual(run.notices, ["-drive or -blockdev: nothing uses 'none0'"])
})

test('of several -machine options the last of each property counts', t => {
  const { machine } = request('-kernel k -machine type=q35,accel=kvm,usb=on,pit=on -M usb=off -machine microvm,pit=off')
  t.like(machine, { pit: false, accel: ['accel=kvm'] })
  t.regex(refusal('-kernel k -machine microvm -machine q35'), /^-machine: unknown type 'q35'/)
})

for (const [of, line, part] of [
  [
    'debvm',
    '-kernel k -machine type=q35,accel=kvm -no-user-config',
    /^-machine: unknown type 'q35'.* Use microvm or pc/,
  ],
  [
    'debvm',
    '-kernel k -M pc -device virtio-rng-pci,max-bytes=1024,period=1000',
    /The board has no PCI: use '-device virtio-rng-device'/,
  ],
  [
    'debvm',
    '-kernel k -M pc -netdev user,id=n -device virtio-net-pci,netdev=n',
    /The board has no PCI: use '-device virtio-net-device'/,
  ],
  [
    'virtme-ng',
    '-kernel k -M microvm,accel=kvm,pcie=on,rtc=on',
    /^-machine does not accept 'pcie=on': there is no PCI/,
  ],
  [
    'virtme-ng',
    '-kernel k -M pc -fsdev local,id=f,path=/,security_model=none',
    /^-fsdev: kvm-accel has no shared directories/,
  ],
  ['virtme-ng', '-kernel k -M pc -watchdog i6300esb', /^-watchdog: kvm-accel has no watchdog device/],
  [
    'virtme-ng',
    '-kernel k -M pc -device virtio-serial-pci',
    /The board has no PCI: use '-device virtio-serial-device'/,
  ],
  [
    'syzkaller',
    '-kernel k -drive file=bullseye.img,format=raw',
    /^-drive without if= is an IDE disk.* Use 'if=virtio'/,
  ],
  [
    'syzkaller',
    '-kernel k -net user,host=10.0.2.10,hostfwd=tcp:127.0.0.1:10021-:22',
    /^-net: unsupported value 'user.*'-netdev' with '-device virtio-net-device'/,
  ],
  ['syzkaller', '-kernel k -net nic,model=e1000', /^-net: unsupported value 'nic,model=e1000'/],
  [
    'OVMF',
    '-M pc -drive if=pflash,format=raw,readonly=on,file=OVMF_CODE.fd',
    /there is no flash, and UEFI firmware \(OVMF\) also needs PCI/,
  ],
  ['OVMF', '-M pc -pflash OVMF.fd', /^-pflash: kvm-accel has no flash for UEFI firmware/],
] as const) {
  test(`${of}: the error names the part of '${line}'`, t => {
    t.regex(refusal(line), part)
  })
}

test('-bios NAME is found where QEMU keeps firmware, and firmware that needs PCI is refused', t => {
  const only = (...paths: string[]) => ({ ...runFiles, isReadable: (path: string) => paths.includes(path) })
  const found = (name: string, ...paths: string[]) => request(`-bios ${name}`, only(...paths)).machine.firmware
  t.is(found('bios.bin', 'bios.bin', '/usr/share/seabios/bios.bin'), 'bios.bin')
  t.is(found('bios.bin', '/usr/share/seabios/bios.bin'), '/usr/share/seabios/bios.bin')
  t.is(found('qboot.rom', '/usr/share/qemu/qboot.rom', '/usr/share/seabios/qboot.rom'), '/usr/share/qemu/qboot.rom')
  t.is(found('./bios.bin', '/usr/share/qemu/bios.bin'), './bios.bin')
  t.regex(refusal('-bios nosuch.bin', only()), /^-bios: 'nosuch.bin' is neither in .*\/usr\/share\/seabios/)
  const uefi = { ...runFiles, unsupportedFirmware: () => 'UEFI (OVMF)' }
  t.regex(refusal('-bios OVMF.fd', uefi), /^-bios OVMF.fd: UEFI \(OVMF\) needs PCI, which the board does not have/)
})

test('-global sets a default for all devices of a driver, before or after them', t => {
  const device = '-netdev user,id=n -device virtio-net-device,netdev=n'
  const global = '-global virtio-net-device.host_mtu=1400'
  t.like(request(`-kernel k ${global} ${device}`).machine, { networks: [{ mtu: 1400 }] })
  t.like(request(`-kernel k ${device} ${global}`).machine, { networks: [{ mtu: 1400 }] })
  t.like(request(`-kernel k ${device},host_mtu=1300 ${global}`).machine, { networks: [{ mtu: 1300 }] })
  const long = '-global driver=virtio-rng-device,property=period,value=7 -device virtio-rng-device,max-bytes=1'
  t.like(request(`-kernel k ${long}`).machine, { rng: { period: 7 } })
  t.regex(
    refusal('-kernel k -global virtio-rng-device.nosuch=1'),
    /^-global virtio-rng-device: unknown parameter 'nosuch'/,
  )
  t.regex(refusal('-kernel k -global virtio-mmio.force-legacy=on'), /does not accept 'force-legacy=on'/)
  t.regex(refusal('-kernel k -global virtio-rng-device'), /^-global expects DRIVER.PROPERTY=VALUE/)
  const [notice] = request('-kernel k -global PIIX4_PM.disable_s3=1').run.notices
  t.is(notice, "-global PIIX4_PM.disable_s3 has no effect: there is no driver 'PIIX4_PM'.")
})

test('-device, -object and -netdev accept JSON objects', t => {
  const { machine } = request(
    [
      `-kernel k -object '{"qom-type":"rng-random","id":"r","filename":"/dev/random"}'`,
      `-device '{"driver":"virtio-rng-device","rng":"r"}'`,
      `-netdev '{"type":"user","id":"n","hostfwd":[{"str":"tcp:127.0.0.1:8080-:80"}]}'`,
      `-device '{"driver":"virtio-net-device","netdev":"n","host_mtu":1400}'`,
    ].join(' '),
  )
  const forwards = [{ protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 8080, guestPort: 80 }]
  t.like(machine, { rng: { source: '/dev/random' }, networks: [{ backend: { user: { forwards } }, mtu: 1400 }] })
})
