/** Options of QEMU that kvm-accel does not have, and what to use instead. */
export interface RefusedOptions {
  readonly names: readonly string[]
  /** The missing feature, for the message `kvm-accel has no …`. */
  readonly lacks: string
  readonly remedy: string
}

/** The single source for messages and for docs/how-to/from-qemu.md. */
export const refusedOptions: readonly RefusedOptions[] = [
  {
    names: ['-hda', '-hdb', '-hdc', '-hdd', '-cdrom', '-fda', '-fdb', '-sd', '-mtdblock'],
    lacks: 'IDE disks, floppies and CD-ROMs',
    remedy: "Use '-drive file=PATH,format=raw,if=virtio'.",
  },
  {
    names: ['-pflash'],
    lacks: 'flash for UEFI firmware (OVMF), which also needs PCI',
    remedy: "Boot a kernel with '-kernel', or SeaBIOS with '-bios bios-microvm.bin'.",
  },
  {
    names: ['-snapshot'],
    lacks: 'temporary overlays',
    remedy: "Create an overlay: 'qemu-img create -f qcow2 -b disk.img -F raw overlay.qcow2'.",
  },
  {
    names: ['-qmp', '-qmp-pretty', '-mon'],
    lacks: 'monitor',
    remedy: 'Drive the machine from TypeScript: pause, resume, reset and stop are methods of Machine.',
  },
  {
    names: ['-gdb', '-s'],
    lacks: 'gdb server',
    remedy: 'Use machine.debug in a program: docs/reference/guest-debug.md.',
  },
  {
    names: ['-daemonize', '-runas', '-chroot'],
    lacks: 'process management',
    remedy: 'Start kvm-accel from a service manager, which sets the user and the directories.',
  },
  {
    names: ['-incoming', '-loadvm', '-only-migratable'],
    lacks: 'migration and saved machines',
    remedy: 'Boot the guest again.',
  },
  {
    names: ['-usb', '-usbdevice', '-audio', '-audiodev', '-spice', '-k', '-full-screen', '-alt-grab', '-tpmdev'],
    lacks: 'display, sound, USB and TPM',
    remedy: 'Use the serial console, or a network.',
  },
  {
    names: ['-watchdog', '-watchdog-action'],
    lacks: 'watchdog device',
    remedy: "Use '-accel kvm,notify-vmexit=internal-error', and in a program machine.counters().",
  },
  {
    names: ['-fsdev', '-virtfs'],
    lacks: 'shared directories',
    remedy: 'Use a disk, vsock or a network.',
  },
  {
    names: ['-smbios', '-acpitable', '-dtb', '-option-rom', '-L', '-uuid'],
    lacks: 'tables and ROMs besides its own',
    remedy: "Pass files to the firmware with '-fw_cfg name=opt/…,file=PATH'.",
  },
  { names: ['-numa'], lacks: 'NUMA nodes', remedy: 'Omit it: guest memory is one node.' },
  { names: ['-icount'], lacks: 'instruction counting', remedy: 'Omit it: KVM runs at the speed of the host.' },
  { names: ['-d', '-D', '-dfilter', '-plugin'], lacks: 'log in the form of QEMU', remedy: "Use '-trace'." },
  {
    names: ['-readconfig', '-writeconfig', '-set'],
    lacks: 'configuration files of this form',
    remedy: "Use '--print-config' and '--config FILE'.",
  },
  {
    names: ['-action'],
    lacks: 'choice of actions',
    remedy: "Use '-no-reboot' and '-no-shutdown' to choose what a reset and a shutdown do.",
  },
]
