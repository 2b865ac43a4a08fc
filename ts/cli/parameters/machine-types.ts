import { optionSentences } from './option-sentences.js'

/** Machine names that `-machine` accepts. Both name the same board. */
export const machineTypes: ReadonlyMap<string, string> = new Map([
  ['microvm', 'COM1, i8042 reset, virtio-mmio devices; direct kernel boot'],
  ['pc', 'the same board, for command lines that name it'],
])

/** A property of `-machine` with words as values. */
export interface MachineProperty {
  readonly name: string
  /** Other values are refused. */
  readonly values: readonly string[]
  /** The effect of the property, or the fixed feature that it describes. */
  readonly about: string
  /** True if the property describes a fixed feature of the board. */
  readonly fixed?: true
}

const fixed = (name: string, values: string, about: string): MachineProperty => ({
  name,
  values: values.split('|'),
  about,
  fixed: true,
})

/** The accepted properties of QEMU's `pc` and `microvm` with words as values. */
export const machineProperties: readonly MachineProperty[] = [
  { name: 'acpi', values: ['on', 'off', 'auto'], about: optionSentences['MachineOptions.acpi'] },
  {
    name: 'auto-kernel-cmdline',
    values: ['on', 'off'],
    about: optionSentences['MachineOptions.autoKernelCmdline'],
  },
  { name: 'dump-guest-core', values: ['on', 'off'], about: optionSentences['MachineOptions.dumpGuestCore'] },
  fixed('graphics', 'off', 'There is no display.'),
  { name: 'hpet', values: ['on', 'off'], about: optionSentences['MachineOptions.hpet'] },
  fixed('i8042', 'on', 'The i8042 is always present; it performs resets.'),
  fixed('ioapic2', 'off|auto', 'There is one IOAPIC.'),
  { name: 'isa-serial', values: ['on', 'off'], about: 'Adds COM1 at port 0x3f8.' },
  fixed('mem-merge', 'off', 'Guest memory is not offered for merging.'),
  fixed('pcie', 'off|auto', 'There is no PCI.'),
  { name: 'pic', values: ['on', 'auto', 'off'], about: optionSentences['MachineOptions.pic'] },
  { name: 'pit', values: ['on', 'auto', 'off'], about: optionSentences['MachineOptions.pit'] },
  fixed('rtc', 'on|auto|off', 'The CMOS clock is always present.'),
  fixed('sata', 'off', 'There are no SATA disks.'),
  fixed('smbus', 'off', 'There is no SMBus.'),
  fixed('smm', 'off|auto', 'There is no system management mode.'),
  fixed('usb', 'off', 'There is no USB.'),
  fixed('vmport', 'off|auto', 'There is no VMware port.'),
  fixed('x-option-roms', 'off', 'There are no option ROMs.'),
]

/** The properties of `-machine` with other values, as help shows them. */
export const machineValues: Readonly<Record<string, { readonly takes: string; readonly about: string }>> = {
  accel: { takes: 'NAME[:NAME…]', about: 'The accelerators, in the order in which they are tried.' },
  'bus-lock-ratelimit': { takes: 'N', about: optionSentences['MachineOptions.busLockRatelimit'] },
  'kernel-irqchip': { takes: 'on|off|split', about: 'The same as the property of -accel kvm.' },
  'kvm-shadow-mem': { takes: 'BYTES', about: 'The same as the property of -accel kvm.' },
  'memory-backend': { takes: 'ID', about: 'The id of the -object memory-backend-… that provides guest memory.' },
  kernel: { takes: 'FILE', about: 'The same as -kernel.' },
  initrd: { takes: 'FILE', about: 'The same as -initrd.' },
  append: { takes: 'TEXT', about: 'The same as -append.' },
  firmware: { takes: 'FILE', about: 'The same as -bios.' },
}

/** Properties of `-machine` that belong to the accelerator. */
export const accelSugar: readonly string[] = ['kernel-irqchip', 'kvm-shadow-mem']
