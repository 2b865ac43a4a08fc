import { invalidArgument } from '../../errors/operation/argument-error.js'
import { constants } from 'node:buffer'
import { native } from '../../native/native.js'
import { view } from './failed.js'

const PAGE = 4096

/**
 * Allocates memory that can be the RAM of a guest. It is filled with zeros, and uses no memory of
 * the host until it is touched. It is unmapped when no view of it is reachable and no guest can run
 * that has it in a slot.
 *
 * @param size - bytes; a multiple of 4096 up to `buffer.constants.MAX_LENGTH` (4 GiB in Node 20). A
 * larger guest needs several.
 * @throws {@linkcode ArgumentError} for another size.
 * @throws {@linkcode KvmIoctlError} `ENOMEM` when this process cannot map that much.
 * @throws {@linkcode KvmUnavailableError} `no-external-buffers` in runtimes without external
 * buffers.
 *
 * @example
 * ```ts
 * import { Kvm, allocateMemory } from 'kvm-accel/kvm'
 *
 * using vm = new Kvm().createVm()
 * const ram = allocateMemory(2 << 20)
 * new Uint8Array(ram).set([0xf4], 0x1000) // hlt
 * vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: ram })
 * ```
 */
export function allocateMemory(size: number): ArrayBuffer {
  if (!Number.isInteger(size) || size <= 0 || size % PAGE !== 0 || size > constants.MAX_LENGTH)
    throw invalidArgument(
      'size',
      size,
      `a multiple of ${PAGE} bytes, at most ${constants.MAX_LENGTH}`,
      'Allocate several pieces for a larger guest.',
    )
  return view('mmap', native().allocateGuestMemory(size))
}
