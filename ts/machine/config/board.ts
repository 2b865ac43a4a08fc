// The board: chips, and devices at fixed ports.

import { device, object } from '../../schema/compound.js'
import type { Entry, NormalOf, OptionsOf } from '../../schema/entry.js'
import { conflict } from '../../schema/invalid.js'
import { boolean, choice, integer } from '../../schema/scalars.js'
import { fwCfgEntry } from './fw-cfg.js'
import { rtcEntry } from './rtc.js'
import { vmGenerationIdEntry } from './vm-generation.js'

export const debugExitMembers = {
  /**
   * The first port, 0 to 65535.
   *
   * @default 0x501
   */
  iobase: integer({ min: 0, max: 0xffff, default: 0x501, defaultText: '0x501', cli: 'iobase' }),
  /**
   * The number of ports, 1 to 8.
   *
   * @default 2
   */
  iosize: integer({ min: 1, max: 8, default: 2, cli: 'iosize' }),
}

/** Ports whose writes end a machine with a status, QEMU's `isa-debug-exit`. */
export interface DebugExitOptions extends OptionsOf<typeof debugExitMembers> {}

/** {@link DebugExitOptions} in normal form. */
export interface NormalDebugExit extends NormalOf<typeof debugExitMembers> {}

const debugExitObject: Entry<DebugExitOptions, NormalDebugExit, 'required'> = object(
  'DebugExitOptions',
  debugExitMembers,
  {
    finish: (ports, path) => {
      if (ports.iobase + ports.iosize <= 0x1_0000) return ports
      const problem = `${ports.iosize} ports from ${ports.iobase} exceed port 65535`
      throw conflict(path, problem, 'Give a smaller iobase or iosize.')
    },
    restore: ports => ports,
  },
)

/** The delivery of timer ticks that the guest missed, by the PIT in the kernel. */
export type LostTickPolicy = 'delay' | 'discard'

export const boardMembers = {
  /**
   * The two interrupt controllers 8259. With `kernel-irqchip=on` they are in the kernel and always
   * present, as in QEMU. With `kernel-irqchip=off` they are the only interrupt controllers, and
   * false is refused.
   *
   * @default true
   */
  pic: boolean({ default: true, cli: '-machine pic' }),
  /**
   * The timer 8254 (PIT).
   *
   * @default true
   */
  pit: boolean({ default: true, cli: '-machine pit' }),
  /**
   * The timer HPET at 0xfed00000, and its ACPI table. Off by default, as in QEMU's microvm: a Linux
   * guest with kvmclock needs no HPET, and each access to it is an exit.
   *
   * @default false
   */
  hpet: boolean({ default: false, cli: '-machine hpet' }),
  /**
   * The CMOS clock: its time at the start, and the clock that drives it.
   *
   * @default UTC of the host
   */
  rtc: rtcEntry,
  /**
   * Adds `isa-debug-exit`: a guest that writes V to its port ends the machine with status `(V << 1) | 1`.
   *
   * @default false
   */
  debugExit: device(debugExitObject, { cli: '-device isa-debug-exit' }),
  /**
   * Files of fw_cfg by name, at most 55 characters. Names that begin with `opt/` are for users;
   * QEMU and firmware define the others.
   *
   * @default the machine's own files
   */
  fwCfg: fwCfgEntry,
  /**
   * Adds `pc-testdev` of kvm-unit-tests: latches at ports 0xe0 and 0xe8, a page to flush at 0xe4,
   * interrupt lines at 0x2000, and memory that is not RAM at 0xff000000.
   *
   * @default false
   */
  testDevices: boolean({ default: false, cli: '-device pc-testdev' }),
  /**
   * Adds `pvpanic` at port 0x505 and in ACPI's tables, through which the guest reports a kernel
   * panic. The panic ends the machine with reason `guest-panicked`. With `noShutdown` it stops the
   * machine in that run state.
   *
   * @default false
   */
  pvpanic: boolean({ default: false, cli: '-device pvpanic' }),
  /**
   * The machine's generation (`vmgenid`): a UUID, or `'auto'` for a random one. A guest that reads
   * another generation than before knows that it is a copy, and reseeds its random numbers. The
   * generation does not change during the lifetime of a machine. The guest finds its address in
   * ACPI's tables.
   *
   * @default none
   */
  vmGenerationId: vmGenerationIdEntry,
  /**
   * Adds ACPI tables. Without them the guest can still power off and reset, see
   * docs/reference/boot.md.
   *
   * @default true
   */
  acpi: boolean({ default: true, cli: '-machine acpi' }),
  /**
   * The delivery of timer ticks that the guest missed, by the PIT in the kernel
   * (`kernel-irqchip=on`). `delay` delivers them late, so that a guest that counts ticks keeps its
   * time. `discard` drops them.
   *
   * @default 'delay'
   */
  lostTickPolicy: choice(['delay', 'discard'], { default: 'delay', cli: '-global kvm-pit.lost_tick_policy' }),
}

/** The board of a machine. */
export interface BoardOptions extends OptionsOf<typeof boardMembers> {}
