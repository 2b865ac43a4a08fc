/** Machine names that `-machine` accepts. Both name the same board. */
export const machineTypes: ReadonlyMap<string, string> = new Map([
  ['microvm', 'COM1, i8042 reset, virtio-mmio devices; direct kernel boot'],
  ['pc', 'the same board, for command lines that name it'],
])

/** A property of `-machine` that describes a fixed feature of the board. */
export interface MachineProperty {
  readonly name: string
  /** The values that match the board. Other values are refused. */
  readonly values: readonly string[]
  /** The fixed feature. */
  readonly about: string
}

/**
 * The accepted properties of QEMU's `pc` and `microvm`. Only `acpi`, `auto-kernel-cmdline`,
 * `dump-guest-core`, `isa-serial`, `pic` and `pit` have an effect.
 */
export const machineProperties: readonly MachineProperty[] = [
  { name: 'acpi', values: ['on', 'off', 'auto'], about: 'there are ACPI tables unless it is off' },
  {
    name: 'auto-kernel-cmdline',
    values: ['on', 'off'],
    about: 'Linux is told of virtio devices on its command line unless it is off; QEMU does so without ACPI only',
  },
  { name: 'dump-guest-core', values: ['on', 'off'], about: 'core dumps have guest memory unless it is off' },
  { name: 'graphics', values: ['off'], about: 'there is no display' },
  { name: 'hpet', values: ['off'], about: 'there is no HPET' },
  { name: 'i8042', values: ['on'], about: 'there is an i8042 for resets' },
  { name: 'ioapic2', values: ['off', 'auto'], about: 'there is one IOAPIC' },
  { name: 'isa-serial', values: ['on', 'off'], about: 'COM1 is at port 0x3f8 unless it is off' },
  { name: 'mem-merge', values: ['off'], about: 'guest memory is not offered for merging' },
  { name: 'pcie', values: ['off', 'auto'], about: 'there is no PCI' },
  {
    name: 'pic',
    values: ['on', 'auto', 'off'],
    about: 'there is a PIC unless it is off; with kernel-irqchip=on it is in the kernel, and stays, as in QEMU',
  },
  { name: 'pit', values: ['on', 'auto', 'off'], about: 'there is a PIT unless it is off' },
  { name: 'rtc', values: ['on', 'auto', 'off'], about: 'the CMOS clock is there in any case' },
  { name: 'sata', values: ['off'], about: 'there are no SATA disks' },
  { name: 'smbus', values: ['off'], about: 'there is no SMBus' },
  { name: 'smm', values: ['off', 'auto'], about: 'there is no system management mode' },
  { name: 'usb', values: ['off'], about: 'there is no USB' },
  { name: 'vmport', values: ['off', 'auto'], about: 'there is no VMware port' },
  { name: 'x-option-roms', values: ['off'], about: 'there are no option ROMs' },
]

/** The one property of `-machine` that changes the machine itself. */
export const busLockRatelimit = 'bus-lock-ratelimit'

/** Properties of `-machine` that belong to the accelerator. */
export const accelSugar: readonly string[] = ['kernel-irqchip', 'kvm-shadow-mem']
