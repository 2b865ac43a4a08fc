import { isMainThread, workerData } from 'node:worker_threads'
import { MachineConfigError } from '../../../errors/options/machine-config-error.js'
import { native } from '../../../native/native.js'
import { registerBits, registerValue, type DeviceHandlers } from './device.js'

/**
 * Serves a device in the worker that {@linkcode Machine.addDevice} started for it. Returns when the
 * machine has ended. Until then it blocks the event loop of the worker.
 *
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
 */
export function serveDevice(handlers: DeviceHandlers): void {
  const { device: token, name } = (workerData ?? {}) as { device?: unknown; name?: string }
  const server = isMainThread || typeof token !== 'number' ? null : native().takeDevice(token)
  if (!server) {
    const message = 'serveDevice() failed: expected one call, in a worker that addDevice() has started'
    throw new MachineConfigError(message, {
      option: 'device',
      remedy: 'Name this module in machine.addDevice({ pio, worker }).',
    })
  }
  for (;;) {
    const next = server.next()
    if (next.kind === 'closed') return
    if (next.kind === 'idle') continue
    const { id, write, offset, size, value } = next.access
    if (write) {
      handlers.write?.(offset, size, registerValue(value, size))
      server.answer(id, 0n)
    } else {
      const read = handlers.read ? handlers.read(offset, size) : -1
      server.answer(id, registerBits(read, name ?? 'device', size))
    }
  }
}
