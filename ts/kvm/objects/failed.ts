import { getSystemErrorMap } from 'node:util'
import { KvmIoctlError } from '../../errors/host/kvm-ioctl-error.js'
import { KvmUnavailableError } from '../../errors/host/kvm-unavailable-error.js'

/** The error of a call that answered `-errno`. */
export function failed(ioctl: string, answer: number, remedy?: string): KvmIoctlError {
  const errno = -answer
  const [, text] = getSystemErrorMap().get(answer) ?? ['', `error ${errno}`]
  return new KvmIoctlError(`${ioctl} failed: ${text}`, { ioctl, errno, remedy })
}

/** What a call made, or its error: `-errno`. */
export function made<T>(call: string, result: T | number, remedy?: string): T {
  if (typeof result === 'number') throw failed(call, result, remedy)
  return result
}

/** A buffer over native memory, or the reason why there is none: `-errno`, or 0 where the runtime makes a copy instead. */
export function view(call: string, result: ArrayBuffer | number): ArrayBuffer {
  if (result !== 0) return made(call, result)
  throw new KvmUnavailableError('This runtime does not allow ArrayBuffers over native memory, as Electron does not', {
    reason: 'no-external-buffers',
    remedy: 'Use kvm-accel/kvm in Node.js itself, or Machine, which needs none.',
  })
}
