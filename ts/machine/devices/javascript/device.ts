import { ArgumentError } from '../../../errors/operation/argument-error.js'

/** A value of a device's register: a number for accesses of up to 4 bytes, a bigint for 8. */
export type DeviceValue = number | bigint

/**
 * The handlers of a device written in JavaScript. `offset` counts from the device's first port or
 * address.
 */
export interface DeviceHandlers<Read = DeviceValue, Write = void> {
  /**
   * Answers a load or an `in` of `size` bytes: 1, 2, 4 or 8. The guest gets the low `size` bytes of
   * the value.
   *
   * @default all ones
   */
  readonly read?: ((offset: number, size: number) => Read) | undefined
  /**
   * Handles a store or an `out`. `value` is a bigint when `size` is 8.
   *
   * @default the write is dropped
   */
  readonly write?: ((offset: number, size: number, value: DeviceValue) => Write) | undefined
  /**
   * Puts the device into its power-on state. Called after each reset of the machine and after each
   * wake-up from ACPI sleep, before the device's next access. The interrupt line is low at that
   * time. Several resets without an access between them may cause a single call.
   *
   * @default nothing happens
   */
  readonly reset?: (() => Write) | undefined
}

/** The interrupt line of a device. */
export interface DeviceIrq {
  /**
   * The line: 0 to 15 of the PIC, or pin 16 to 23 of the IOAPIC. It must not belong to another
   * device. Lines 3, 13 and those after the virtio devices' are usually free.
   */
  readonly line: number
  /**
   * `edge`: each `raise()` is one interrupt. `level`: the line keeps its level from `raise()` to
   * `lower()`. The guest programs its interrupt controller for the same trigger.
   *
   * @default 'edge'
   */
  readonly trigger?: 'edge' | 'level' | undefined
}

/** The ports or addresses of a device, and its properties. */
export interface DevicePlace {
  /** The first port, 0 to 0xffff, and the number of ports. */
  readonly pio?: readonly [base: number, length: number] | undefined
  /** The first guest physical address, and the length in bytes. The range must not be RAM. */
  readonly mmio?: readonly [base: number | bigint, length: number] | undefined
  /**
   * The interrupt line: its number, or {@link DeviceIrq}.
   *
   * @default none
   */
  readonly irq?: number | DeviceIrq | undefined
  /**
   * The consequence when a handler throws, returns a value that is not an integer, or rejects its
   * promise. With either value the machine emits `device-error`.
   *
   * - `end`: the machine ends, and {@linkcode Machine.wait} resolves with reason `handler-error`;
   * - `all-ones`: the guest continues as after an access without a responding device on a PC's bus:
   *   a read returns all ones, and a write is dropped.
   *
   * @default 'end'
   */
  readonly onError?: 'end' | 'all-ones' | undefined
  /**
   * The name of the device, for messages.
   *
   * @default 'device'
   */
  readonly name?: string | undefined
}

/**
 * A device whose handlers run on this thread. They may return promises: the vCPU that made the
 * access waits, and the other vCPUs continue to run.
 */
export interface LocalDevice
  extends DevicePlace, DeviceHandlers<DeviceValue | Promise<DeviceValue>, void | Promise<void>> {
  readonly worker?: undefined
}

/**
 * A device whose handlers run in a worker, synchronously. It is several times faster, and does not
 * wait for other work of this thread.
 */
export interface WorkerDevice extends DevicePlace {
  /** The worker's module, which calls {@linkcode serveDevice}. */
  readonly worker: URL | string
  /** The worker gets it as `workerData.data`. A SharedArrayBuffer is shared. */
  readonly workerData?: unknown
  readonly read?: undefined
  readonly write?: undefined
  readonly reset?: undefined
}

/** The argument of {@linkcode Machine.addDevice}. */
export type DeviceOptions = LocalDevice | WorkerDevice

/** The name of a device in messages. */
export const deviceName = ({ name }: Pick<DevicePlace, 'name'>): string => name ?? 'device'

/**
 * Converts a handler's value to the bits that a guest reads in `size` bytes.
 *
 * @throws ArgumentError when the value is not an integer.
 */
export function registerBits(value: unknown, name: string, size: number): bigint {
  if (typeof value !== 'bigint' && !Number.isInteger(value)) {
    throw new ArgumentError(`read() of device '${name}' returned ${String(value)}: expected a whole number`, {
      argument: 'read',
      remedy: 'Return a number or a bigint from every path of read().',
    })
  }
  return BigInt.asUintN(8 * size, BigInt(value as DeviceValue))
}

/** Converts written bits to the value that a write handler gets. */
export function registerValue(bits: bigint, size: number): DeviceValue {
  return size === 8 ? bits : Number(bits)
}
