// Compares which command lines QEMU and kvm-accel accept.

import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { resolveBoard } from '../../ts/cli/argv/draft-machine.js'
import { findFirmware } from '../../ts/cli/argv/find-firmware.js'
import { imageFiles } from '../../ts/cli/image-files.js'
import { memoryOption } from '../../ts/cli/options/memory.js'
import { readArgv } from '../../ts/cli/argv/read-argv.js'
import { disksEntry } from '../../ts/machine/config/virtio/disks.js'
import { KvmAccelError } from '../../ts/errors/index.js'
import { scratch } from '../helpers/paths.js'
import { kvm, qemu, requires } from '../helpers/requires.js'

const test = requires(kvm, qemu)

const folder = scratch()
const image = (name: string): string => {
  const path = join(folder, name)
  writeFileSync(path, Buffer.alloc(65_536))
  return path
}
const disk = image('disk.raw')
// QEMU requires a power of two.
const flash = image('flash.raw')
const other = image('other.raw')

/** Makes QEMU build the machine and quit, without running it. */
const qemuTakes = (argv: readonly string[]): boolean => {
  const base = ['-accel', 'kvm', '-S', '-display', 'none', '-nodefaults', '-monitor', 'stdio']
  const machine = argv.includes('-M') ? [] : ['-M', 'microvm']
  return (
    spawnSync('qemu-system-x86_64', [...machine, ...base, ...argv], { input: 'quit\n', timeout: 60_000 }).status === 0
  )
}

const weTake = (argv: readonly string[]): boolean => {
  const machine = argv.includes('-M') ? [] : ['-M', 'microvm']
  try {
    const draft = readArgv([...machine, ...argv])
    if (typeof draft === 'string') throw new Error(draft)
    if (draft.firmware !== undefined) findFirmware(draft.firmware, imageFiles)
    disksEntry.read(resolveBoard(draft).devices.disks, 'disks')
    memoryOption(draft)
    return true
  } catch (error) {
    if (error instanceof KvmAccelError) return false
    throw error
  }
}

const words = (line: string): string[] => line.split(' ')

const drive = `-drive file=${disk},format=raw,if=none,id=d`

/** Command lines that both programs accept. */
const taken = [
  '-M microvm,acpi=off,pit=on,pic=on,rtc=off,isa-serial=on,auto-kernel-cmdline=off,graphics=off,usb=off',
  '-M microvm,x-option-roms=off,pit=off,pic=off,isa-serial=off,rtc=off',
  '-M microvm,isa-serial=off,rtc=on -serial null',
  '-M pc,acpi=off,hpet=off,usb=off,vmport=off,sata=off,smbus=off',
  '-M microvm,x_option_roms=off,kernel-irqchip=split',
  '-m 128M,maxmem=128M',
  '-m size=1.5G',
  '-smp 2,maxcpus=2',
  '-smp cpus=4,sockets=2,cores=2',
  '-no-acpi',
  '-overcommit mem-lock=off',
  '-sandbox off',
  '-name guest=x,debug-threads=on',
  '-boot order=c,strict=on',
  '-boot c',
  '-rtc base=utc,clock=vm,driftfix=none',
  '-rtc base=2001-02-03T04:05:06',
  '-fw_cfg name=opt/a,string=b',
  `-fw_cfg opt/a,file=${disk}`,
  drive,
  `${drive} -device virtio-blk-device,drive=d,serial=S,id=x`,
  `-device virtio-blk-device,drive=d ${drive}`,
  `${drive},readonly=on,cache=none,aio=threads,discard=unmap,snapshot=off,media=disk,werror=report,rerror=report`,
  `${drive},cache=unsafe,detect-zeroes=off,copy-on-read=off,index=1`,
  `${drive},throttling.bps-total=1000,throttling.bps-total-max=2000,throttling.bps-total-max-length=3,throttling.iops-total=5,throttling.iops-size=512`,
  `${drive},throttling.bps-read=1000,throttling.iops-write=5,throttling.iops-write-max=50,bps_wr=7`,
  `${drive},bps=1000,iops=10,iops_max=20`,
  `-drive file=${disk},format=raw,id=d`,
  `-blockdev driver=file,node-name=n,filename=${disk}`,
  `-blockdev driver=file,node-name=n,filename=${disk} -device virtio-blk-device,drive=n`,
  `-blockdev raw,node-name=n,file.driver=file,file.filename=${disk} -device virtio-blk-device,drive=n,config-wce=on`,
  `-blockdev {"driver":"raw","node-name":"n","read-only":true,"file":{"driver":"file","filename":"${disk}"}}`,
  `-blockdev file,node-name=f,filename=${disk} -blockdev raw,node-name=n,file=f -device virtio-blk-device,drive=n`,
  '-device virtio-rng-device',
  '-object rng-random,id=r -device virtio-rng-device,rng=r,max-bytes=1024,period=1000',
  '-device virtio-rng-device,rng=r -object rng-random,id=r,filename=/dev/urandom',
  '-device {"driver":"virtio-rng-device","period":1000}',
  '-object rng-builtin,id=r -device virtio-rng-device,rng=r,event_idx=on,packed=off',
  '-object memory-backend-memfd,id=m,size=128M,share=on,seal=on',
  '-M microvm,memory-backend=m -object memory-backend-memfd,id=m,size=128M',
  '-M microvm,memory-backend=m -object memory-backend-ram,id=m,size=128M,prealloc=off -m 128M',
  '-M microvm,memory-backend=m -object memory-backend-file,id=m,size=128M,mem-path=/dev/shm,share=off',
  '-netdev user,id=n -device virtio-net-device,netdev=n,mac=52:54:00:12:34:56,host_mtu=1400',
  '-netdev user,id=n,hostfwd=tcp:127.0.0.1:0-:80'.replace(':0-', ':39471-'),
  '-device virtio-balloon-device,deflate-on-oom=on,free-page-reporting=on',
  '-device virtio-balloon-device,guest-stats-polling-interval=2,page-poison=on',
  '-chardev null,id=c -device virtio-serial-device -device virtconsole,chardev=c',
  `-chardev socket,id=c,path=${folder}/s,server=on,wait=off -device virtio-serial-device,max_ports=4 -device virtserialport,chardev=c,name=org.x`,
  '-device virtio-serial-device -device virtconsole',
  `-chardev file,id=c,path=${folder}/log -serial chardev:c`,
  '-serial null -serial none -serial null',
  `-serial unix:${folder}/t,server=on,wait=off`,
  `-serial unix:${folder}/u,server,nowait`,
  '-chardev pty,id=p',
  '-chardev null,id=c -device isa-debugcon,iobase=0x402,chardev=c',
  '-debugcon null',
  '-device isa-debug-exit,iobase=0xf4,iosize=0x4',
  '-device isa-debug-exit,id=a -device isa-debug-exit,iobase=0xf4',
  '-device pvpanic,ioport=0x505',
  '-M pc -device pvpanic -device pc-testdev -device pci-testdev',
  '-M pc -device vmgenid,guid=auto',
  '-M pc -device isa-serial,index=1 -device isa-serial',
  '-M type=q35,usb=off -M microvm',
  '-M pc -M microvm,pit=off -M pit=on',
  `-drive file=${disk},format=raw,id=d -M microvm`,
  '-global virtio-mmio.force-legacy=false -global kvm-pit.lost_tick_policy=discard',
  '-global virtio-net-device.host_mtu=1400 -netdev user,id=n -device virtio-net-device,netdev=n',
  '-device virtio-rng-device -global driver=virtio-rng-device,property=period,value=7',
  '-global nosuch.x=y -global PIIX4_PM.disable_s3=1',
  '-bios bios-microvm.bin',
  '-netdev {"type":"user","id":"n","hostfwd":[{"str":"tcp:127.0.0.1:39473-:80"}]}',
  '-object {"qom-type":"rng-random","id":"r","filename":"/dev/urandom"} -device virtio-rng-device,rng=r',
  '-object {"qom-type":"memory-backend-memfd","id":"m","size":134217728} -M microvm,memory-backend=m',
  '-M pc -global isa-debugcon.iobase=0x402 -chardev null,id=c -device isa-debugcon,chardev=c',
]

/** Command lines that both programs refuse. */
const refused = [
  '-M nosuch',
  '-M microvm,nosuch=1',
  '-M microvm,acpi=maybe',
  '-m 64MB',
  '-m 128M,maxmem=64M',
  '-smp 2,maxcpus=1',
  '-smp 3,cores=2',
  '-nosuch',
  '-rtc localtime',
  '-rtc base=tomorrow',
  '-fw_cfg opt/a',
  '-fw_cfg name=opt/a,string=b,file=c',
  '-fw_cfg opt/a,string=a -fw_cfg opt/a,string=b',
  '-drive if=nosuch',
  `${drive},nosuch=1`,
  `${drive},format=nosuch`.replace('format=raw,', ''),
  `${drive} ${drive}`,
  `${drive} -drive file=${other},format=raw,if=none,id=d`,
  `${drive},bps_max=1 -device virtio-blk-device,drive=d`,
  `${drive},iops_size=512`,
  '-device nosuch',
  '-device virtio-blk-device',
  '-device virtio-blk-device,drive=d',
  `${drive} -device virtio-blk-device,drive=d,nosuch=1`,
  `${drive} -device virtio-blk-device,drive=d -device virtio-blk-device,drive=d`,
  `${drive} -device virtio-blk-device,drive=d,packed=maybe`,
  '-blockdev driver=file,node-name=n',
  '-blockdev driver=raw,node-name=n,file=nosuch',
  '-blockdev {"driver"',
  `-blockdev file,node-name=n,filename=${disk} -blockdev file,node-name=n,filename=${other}`,
  '-object nosuch,id=x',
  '-object rng-random',
  '-object rng-random,id=r -object rng-random,id=r',
  '-object rng-random,id=r,nosuch=1',
  '-object memory-backend-memfd,id=m',
  '-M microvm,memory-backend=nosuch',
  '-device virtio-rng-device,rng=nosuch',
  '-device virtio-rng-device,period=0x',
  '-device virtio-rng-device,id=a -device virtio-balloon-device,id=a',
  '-netdev nosuch,id=n',
  '-netdev user',
  '-netdev user,id=n -netdev user,id=n',
  '-netdev user,id=n,hostfwd=nonsense',
  '-device virtio-net-device,netdev=nosuch',
  '-netdev user,id=n -device virtio-net-device,netdev=n,mac=nonsense',
  '-netdev user,id=n -device virtio-net-device,netdev=n -device virtio-net-device,netdev=n',
  '-chardev nosuch,id=c',
  '-chardev null',
  '-chardev null,id=c -chardev null,id=c',
  '-chardev file,id=c',
  '-chardev socket,id=c',
  '-serial nosuch',
  '-chardev stdio,id=a -chardev stdio,id=b',
  '-serial chardev:nosuch',
  '-chardev null,id=c -serial chardev:c -debugcon chardev:c',
  '-device virtconsole',
  '-device virtio-serial-device -device virtconsole,chardev=nosuch',
  '-device isa-debug-exit,iobase=zz',
  '-M pc -device vmgenid,guid=nonsense',
  '-M pc -device vmgenid -device vmgenid',
  '-M microvm -M nosuch',
  '-global virtio-rng-device',
  '-global virtio-mmio.nosuch=1',
  '-global virtio-rng-device.nosuch=1 -device virtio-rng-device',
  '-global virtio-rng-device.period=zz -device virtio-rng-device',
  '-bios nosuch.bin',
  '-object {"qom-type":"nosuch","id":"x"}',
  '-netdev {"type":"user"}',
  '-boot nosuch=1',
  '-sandbox nosuch',
]

/** Command lines that only QEMU accepts, as docs/how-to/from-qemu.md states. */
const qemuAlone = [
  '-M q35',
  '-m 128M,slots=2,maxmem=256M',
  '-smp 2,maxcpus=4',
  `${drive},cache=writethrough`,
  `-M pc -drive file=${disk},format=raw,if=ide`,
  `${drive},snapshot=on`,
  '-object iothread,id=i',
  '-device virtio-rng-device,packed=on',
  `${drive} -device virtio-blk-device,drive=d,discard=off`,
  '-device virtio-net-device',
  '-chardev udp,id=c,host=127.0.0.1,port=39472',
  '-serial null -serial null -serial null -serial null -serial null',
  '-boot order=n,menu=on',
  '-rtc driftfix=slew',
  '-M microvm,usb=on',
  '-M pc -global virtio-mmio.force-legacy=on',
  `-M pc -drive if=pflash,format=raw,file=${flash}`,
  '-name x,process=y',
]

for (const [lines, ofQemu, ours] of [
  [taken, true, true],
  [refused, false, false],
  [qemuAlone, true, false],
] as const) {
  test(`command lines that QEMU ${ofQemu ? 'accepts' : 'refuses'} and kvm-accel ${ours ? 'accepts' : 'refuses'}`, t => {
    const differing = lines.flatMap(line => {
      const argv = words(line)
      return [
        ...(weTake(argv) === ours ? [] : [`we: ${line}`]),
        ...(qemuTakes(argv) === ofQemu ? [] : [`QEMU: ${line}`]),
      ]
    })
    t.deepEqual(differing, [])
  })
}
