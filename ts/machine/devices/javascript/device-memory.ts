import { checkWhole, invalidArgument } from '../../../errors/operation/argument-error.js'
import { addressOf } from '../../debug/breakpoint.js'
import type { Control } from '../../lifecycle/control.js'

/** The maximum number of bytes that one call reads or writes: 4 MiB. */
const MAX_LENGTH = 2 ** 22

/**
 * Guest memory as a device sees it: physical addresses, in every run state. The control thread
 * copies the bytes, so that a page on a slow disk does not block the event loop. The dirty log
 * records what is written.
 *
 * @example
 * ```ts
 * import { Machine, guestImage } from 'kvm-accel'
 *
 * await using machine = await Machine.create({ kernel: guestImage('pio-loop'), noReboot: true })
 * const device = await machine.addDevice({
 *   name: 'echo',
 *   pio: [0x550, 4],
 *   irq: 3,
 *   // The guest writes the address of a buffer of 512 bytes.
 *   write: async (offset, size, value) => {
 *     const buffer = device.memory.view(value, 512)
 *     await buffer.write(0, (await buffer.read(0, 512)).reverse())
 *     device.raise()
 *   },
 * })
 * ```
 */
export class DeviceMemory {
  readonly #control: Control

  /** @internal Use {@linkcode MachineDevice.memory}. */
  constructor(control: Control) {
    this.#control = control
  }

  /**
   * Reads guest memory.
   *
   * @param address Guest physical address, 0 to 2^64 - 1.
   * @param length Bytes, 0 to 4 MiB.
   * @throws {@linkcode GuestMemoryError} with the first address that is not RAM.
   * @throws {@linkcode ArgumentError} for another address or length.
   * @throws {@linkcode MachineStateError} when the machine has ended.
   */
  read(address: number | bigint, length: number): Promise<Buffer> {
    return this.#control.whole(async () => {
      const start = addressOf(address)
      checkWhole('length', length, 0, MAX_LENGTH, 'bytes')
      return this.#control.call({
        operation: 'device.memory.read',
        command: { kind: 'read-device-memory', address: start, length },
        reply: 'memory',
        map: ({ bytes }) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
      })
    })
  }

  /**
   * Writes guest memory. When an address is not RAM, the bytes before it have been written.
   *
   * @param address Guest physical address, 0 to 2^64 - 1.
   * @param bytes At most 4 MiB. They are copied before the call returns.
   * @throws as {@linkcode DeviceMemory.read}.
   */
  write(address: number | bigint, bytes: Uint8Array): Promise<void> {
    return this.#control.whole(async () => {
      const start = addressOf(address)
      checkBytes(bytes)
      checkWhole('length of bytes', bytes.length, 0, MAX_LENGTH, 'bytes')
      return this.#control.call({
        operation: 'device.memory.write',
        command: { kind: 'write-device-memory', address: start, bytes },
        reply: 'done',
        map: () => {},
      })
    })
  }

  /**
   * Returns a window of guest memory, for a buffer or a ring whose address and length came from the
   * guest. Offsets count from its start, and no access leaves it. Whether it is RAM is checked at
   * each access.
   *
   * @param address Guest physical address, 0 to 2^64 - 1.
   * @param length Bytes, 0 to 2^53 - 1.
   * @throws {@linkcode ArgumentError} for another address or length, and for a window that ends
   * beyond 2^64.
   */
  view(address: number | bigint, length: number): DeviceMemoryView {
    const start = addressOf(address)
    if (!Number.isSafeInteger(length) || length < 0 || start + BigInt(length) > 2n ** 64n) {
      throw invalidArgument('length', length, 'a whole number of bytes, 0 to 2^53 - 1, that ends below 2^64')
    }
    return new DeviceMemoryView(this, start, length)
  }
}

/** A window of guest memory: see {@linkcode DeviceMemory.view}. */
export class DeviceMemoryView {
  readonly #memory: DeviceMemory
  /** The guest physical address of the first byte. */
  readonly address: bigint
  /** The length in bytes. */
  readonly length: number

  /** @internal */
  constructor(memory: DeviceMemory, address: bigint, length: number) {
    this.#memory = memory
    this.address = address
    this.length = length
  }

  /**
   * Reads bytes of the window.
   *
   * @param offset Bytes from the start of the window.
   * @param length Bytes, 0 to 4 MiB.
   * @throws {@linkcode ArgumentError} when the range leaves the window; as
   * {@linkcode DeviceMemory.read}.
   */
  async read(offset: number, length: number): Promise<Buffer> {
    return this.#memory.read(this.#at(offset, length), length)
  }

  /**
   * Writes bytes of the window.
   *
   * @param offset Bytes from the start of the window.
   * @throws as {@linkcode DeviceMemoryView.read}.
   */
  async write(offset: number, bytes: Uint8Array): Promise<void> {
    checkBytes(bytes)
    return this.#memory.write(this.#at(offset, bytes.length), bytes)
  }

  #at(offset: number, length: number): bigint {
    if (!Number.isSafeInteger(offset) || offset < 0) throw invalidArgument('offset', offset, 'a whole number of bytes')
    if (!(length <= this.length - offset)) {
      throw invalidArgument('offset', offset, `a range of ${length} bytes inside the window of ${this.length} bytes`)
    }
    return this.address + BigInt(offset)
  }
}

function checkBytes(bytes: Uint8Array): void {
  if (!(bytes instanceof Uint8Array)) throw invalidArgument('bytes', typeof bytes, 'a Uint8Array')
}
