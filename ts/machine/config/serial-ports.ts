import { build } from '../../schema/build.js'
import { object, optional } from '../../schema/compound.js'
import type { Entry, NormalOf, OptionsOf } from '../../schema/entry.js'
import { conflict } from '../../schema/invalid.js'
import { integer } from '../../schema/scalars.js'
import { targetEntry, type Serial, type SerialTarget } from './serial.js'

export const debugConsoleMembers = {
  /**
   * The I/O port, 0 to 65535. SeaBIOS writes to 0x402.
   *
   * @default 0xe9
   */
  port: integer({ min: 0, max: 0xffff, default: 0xe9, defaultText: '0xe9', cli: 'iobase' }),
  /** Where the bytes go. */
  target: targetEntry,
}

/** A port whose bytes go to a target: QEMU's `isa-debugcon`, to which SeaBIOS writes its messages. */
export interface DebugConsoleOptions extends OptionsOf<typeof debugConsoleMembers> {}

/** {@link DebugConsoleOptions} in normal form. */
export interface NormalDebugConsole extends NormalOf<typeof debugConsoleMembers> {}

const debugConsole: Entry<DebugConsoleOptions, NormalDebugConsole, 'required'> = object(
  'DebugConsoleOptions',
  debugConsoleMembers,
)

/** The serial ports of a board. */
const PORTS = 4

const ports = build<readonly (SerialTarget | null)[], readonly (Serial | null)[], null>(
  {
    takes: `a list of at most ${PORTS} targets, null for a port that is absent; a target is ${targetEntry.takes}`,
    read: (value, path) =>
      Array.isArray(value) && value.length <= PORTS
        ? value.map((target: unknown, index) =>
            target === null ? null : targetEntry.read(target, `${path}[${index}]`),
          )
        : undefined,
    write: serials => serials.map(serial => (serial === null ? null : (targetEntry.write(serial) ?? null))),
  },
  { default: null, defaultText: 'COM1 alone', cli: '-serial' },
)

export const serialMembers = {
  /**
   * The target of COM1.
   *
   * @default 'null'
   */
  serial: optional(targetEntry, { defaultText: "'null'", cli: '-serial' }),
  /**
   * The targets of COM1 to COM4, `null` for an absent port. Replaces `serial`. Each port is a
   * stream in {@linkcode Machine.serials}. Without COM1, {@linkcode Machine.serial} yields no data,
   * and bytes written to it are lost.
   *
   * @default COM1 alone
   */
  serials: ports,
  /**
   * Adds a port whose bytes go to a target, as `isa-debugcon`: firmware writes its messages there.
   *
   * @default none
   */
  debugConsole: optional(debugConsole, { cli: '-device isa-debugcon' }),
}

/** The options of the guest's serial ports. */
export interface SerialOptions extends OptionsOf<typeof serialMembers> {}

/** The serial ports, COM1 first. */
export type NormalSerials = readonly [Serial | null, ...(Serial | null)[]]

type Members = NormalOf<Pick<typeof serialMembers, 'serial' | 'serials'>>

/** Merges the options `serial` and `serials`. */
export function joinSerials({ serial, serials }: Members): NormalSerials {
  if (serial !== null && serials !== null) {
    throw conflict('serials', "it is given beside 'serial', which is its first element", 'Give one of them.')
  }
  const [first = null, ...more] = serials ?? [serial ?? { kind: 'null' }]
  return [first, ...more]
}

/** Inverts {@link joinSerials}. */
export function splitSerials(serials: NormalSerials): Members {
  const [first] = serials
  return serials.length > 1 || first === null ? { serial: null, serials } : { serial: first, serials: null }
}
