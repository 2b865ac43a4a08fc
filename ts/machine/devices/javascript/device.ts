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
  readonly read?: (offset: number, size: number) => Read
  /**
   * Handles a store or an `out`. `value` is a bigint when `size` is 8.
   *
   * @default the write is dropped
   */
  readonly write?: (offset: number, size: number, value: DeviceValue) => Write
}

/** The ports or addresses of a device. */
export interface DevicePlace {
  /** The first port, 0 to 0xffff, and the number of ports. */
  readonly pio?: readonly [base: number, length: number]
  /** The first guest physical address, and the length in bytes. The range must not be RAM. */
  readonly mmio?: readonly [base: number | bigint, length: number]
  /**
   * The name of the device, for messages.
   *
   * @default 'device'
   */
  readonly name?: string
}

/**
 * A device whose handlers run on this thread. They may return promises: the vCPU that made the
 * access waits, and the other vCPUs continue to run.
 */
export interface LocalDevice
  extends DevicePlace, DeviceHandlers<DeviceValue | Promise<DeviceValue>, void | Promise<void>> {
  readonly worker?: never
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
  readonly read?: never
  readonly write?: never
}

/** The argument of {@linkcode Machine.addDevice}. */
export type DeviceOptions = LocalDevice | WorkerDevice

/**
 * Converts a handler's value to the bits that a guest reads in `size` bytes.
 *
 * @throws TypeError when the value is not an integer.
 */
export function registerBits(value: unknown, name: string, size: number): bigint {
  if (typeof value !== 'bigint' && !Number.isInteger(value)) {
    throw new TypeError(`read() of device '${name}' returned ${String(value)}: expected a whole number`)
  }
  return BigInt.asUintN(8 * size, BigInt(value as DeviceValue))
}

/** Converts written bits to the value that a write handler gets. */
export function registerValue(bits: bigint, size: number): DeviceValue {
  return size === 8 ? bits : Number(bits)
}
