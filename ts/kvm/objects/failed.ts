import { getSystemErrorMap } from 'node:util'
import { KvmIoctlError } from '../../errors/host/kvm-ioctl-error.js'
import { KvmUnavailableError } from '../../errors/host/kvm-unavailable-error.js'

/** Creates the error of a call that returned `-errno`. */
export function failed(ioctl: string, answer: number, remedy?: string): KvmIoctlError {
  const errno = -answer
  const [, text] = getSystemErrorMap().get(answer) ?? ['', `error ${errno}`]
  return new KvmIoctlError(`${ioctl} failed: ${text}`, { ioctl, errno, remedy })
}

/** Returns the object that a call created. Throws the error of `-errno`. */
export function made<T>(call: string, result: T | number, remedy?: string): T {
  if (typeof result === 'number') throw failed(call, result, remedy)
  return result
}

/**
 * Returns a buffer over native memory. Throws the error of `-errno`, and for 0, which means that
 * the runtime would copy the memory.
 */
export function view(call: string, result: ArrayBuffer | number): ArrayBuffer {
  if (result !== 0) return made(call, result)
  throw new KvmUnavailableError('This runtime does not support ArrayBuffers over native memory, for example Electron', {
    reason: 'no-external-buffers',
    remedy: 'Use kvm-accel/kvm in Node.js itself, or use Machine, which needs no such ArrayBuffers.',
  })
}
