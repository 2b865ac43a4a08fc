import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import type { BindingDeviceAccess, BindingDeviceServer } from '../../../native/binding.cjs'
import { MachineConfigError } from '../../../errors/options/machine-config-error.js'
import { native } from '../../../native/native.js'
import { registerBits, registerValue, type DeviceHandlers } from './device.js'
import type { DeviceWorkerData } from './device-worker.js'

/** The interrupt line of a device in its worker. Both functions do nothing without option `irq`. */
export interface ServedDevice {
  /** As {@linkcode MachineDevice.raise}. */
  readonly raise: () => void
  /** As {@linkcode MachineDevice.lower}. */
  readonly lower: () => void
}

/**
 * Serves a device in the worker that {@linkcode Machine.addDevice} started for it. Returns when the
 * machine has ended. Until then it blocks the event loop of the worker.
 *
 * @param handlers The handlers, or a function that returns them and gets the interrupt line.
 * @example
 * ```ts
 * import { serveDevice } from 'kvm-accel'
 *
 * let latch = 0
 * serveDevice({
 *   read: () => latch,
 *   write: (offset, size, value) => void (latch = Number(value)),
 * })
 * ```
 * @throws {@linkcode MachineConfigError} outside such a worker, and at the second call.
 * @throws what a handler throws, unless the device has `onError: 'all-ones'`.
 */
export function serveDevice(handlers: DeviceHandlers | ((device: ServedDevice) => DeviceHandlers)): void {
  const { device: token, name = 'device', survives = false } = (workerData ?? {}) as Partial<DeviceWorkerData>
  const server = isMainThread || typeof token !== 'number' ? null : native().takeDevice(token)
  if (!server) {
    const message = 'serveDevice() failed: expected one call, in a worker that addDevice() has started'
    throw new MachineConfigError(message, {
      option: 'device',
      remedy: 'Name this module in machine.addDevice({ pio, worker }).',
    })
  }
  const line: ServedDevice = { raise: () => server.setLine(true), lower: () => server.setLine(false) }
  const served = typeof handlers === 'function' ? handlers(line) : handlers
  for (;;) {
    const next = server.next()
    if (next.kind === 'closed') return
    if (next.kind === 'idle') continue
    try {
      if (next.kind === 'reset') served.reset?.()
      else answer(server, served, name, next.access)
    } catch (error) {
      if (!survives) throw error
      parentPort?.postMessage(error)
      if (next.kind === 'access') server.answer(next.access.id, 2n ** 64n - 1n)
    }
  }
}

function answer(
  server: BindingDeviceServer,
  { read, write }: DeviceHandlers,
  name: string,
  { id, write: isWrite, offset, size, value }: BindingDeviceAccess,
): void {
  if (isWrite) {
    write?.(offset, size, registerValue(value, size))
    server.answer(id, 0n)
  } else {
    server.answer(id, registerBits(read ? read(offset, size) : -1, name, size))
  }
}
