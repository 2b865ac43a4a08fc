/** A value of a device's register: a number for accesses of up to 4 bytes, a bigint for 8. */
export type DeviceValue = number | bigint

/** What a device written in JavaScript does. `offset` counts from the device's first port or address. */
export interface DeviceHandlers<Read = DeviceValue, Write = void> {
  /**
   * A load or an `in` of `size` bytes: 1, 2, 4 or 8. The value's low `size` bytes are given to the guest.
   *
   * @default all ones
   */
  readonly read?: (offset: number, size: number) => Read
  /**
   * A store or an `out`. `value` is a bigint when `size` is 8.
   *
   * @default the write is lost
   */
  readonly write?: (offset: number, size: number, value: DeviceValue) => Write
}

/** Where a device is. */
export interface DevicePlace {
  /** First port, 0 to 0xffff, and number of ports. */
  readonly pio?: readonly [base: number, length: number]
  /** First guest physical address and length in bytes; not in RAM. */
  readonly mmio?: readonly [base: number | bigint, length: number]
  /**
   * For messages.
   *
   * @default 'device'
   */
  readonly name?: string
}

/**
 * A device whose handlers run here, on the machine's own thread. They may return promises: the vCPU that made the access waits,
 * the others go on.
 */
export interface LocalDevice
  extends DevicePlace, DeviceHandlers<DeviceValue | Promise<DeviceValue>, void | Promise<void>> {
  readonly worker?: never
}

/** A device whose handlers run in a worker, synchronously: several times faster, and never behind other work of this thread. */
export interface WorkerDevice extends DevicePlace {
  /** The worker's module, which calls {@linkcode serveDevice}. */
  readonly worker: URL | string
  /** The worker finds it as `workerData.data`. A SharedArrayBuffer is shared. */
  readonly workerData?: unknown
  readonly read?: never
  readonly write?: never
}

/** What {@linkcode Machine.addDevice} takes. */
export type DeviceOptions = LocalDevice | WorkerDevice

/**
 * The bits that a handler's value has for a guest that reads `size` bytes.
 *
 * @throws TypeError when it is no integer.
 */
export function registerBits(value: unknown, name: string, size: number): bigint {
  if (typeof value !== 'bigint' && !Number.isInteger(value)) {
    throw new TypeError(`read() of device '${name}' returned ${String(value)}, and a register holds a whole number`)
  }
  return BigInt.asUintN(8 * size, BigInt(value as DeviceValue))
}

/** What a write handler is given. */
export function registerValue(bits: bigint, size: number): DeviceValue {
  return size === 8 ? bits : Number(bits)
}
