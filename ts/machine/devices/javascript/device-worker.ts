// The worker that serves a device.

import { Worker } from 'node:worker_threads'
import { native } from '../../../native/native.js'
import { KvmAccelError } from '../../../errors/kvm-accel-error.js'
import { bad } from './check-device.js'
import { deviceName, type WorkerDevice } from './device.js'

/** `workerData` of the worker of a device. */
export interface DeviceWorkerData {
  /** Identifies the device. */
  readonly device: number
  readonly name: string
  /** A handler that throws leaves the worker running. */
  readonly survives: boolean
  /** The user's data. */
  readonly data: unknown
}

/** Reports an error of a handler or of the worker. `ends`: the machine ends because of it. */
type Failed = (error: unknown, ends: boolean) => void

/**
 * Starts the worker of a device.
 *
 * @throws `MachineConfigError` when the path is invalid, or the data cannot be copied.
 */
export function startDeviceWorker(device: WorkerDevice, token: number, failed: Failed): void {
  const name = deviceName(device)
  const ends = device.onError !== 'all-ones'
  const workerData: DeviceWorkerData = { device: token, name, survives: !ends, data: device.workerData }
  // With `--input-type`, Node.js would not read the file of the worker.
  const execArgv = process.execArgv.filter(argument => !argument.startsWith('--input-type'))
  let worker: Worker
  try {
    worker = new Worker(device.worker, { workerData, execArgv })
  } catch (cause) {
    // The device stays on the bus: this call makes its accesses read all ones. Without it the guest
    // would wait forever.
    native().forgetDevice(token)
    throw bad(
      device,
      `has a worker that cannot be started: ${cause instanceof Error ? cause.message : String(cause)}`,
      cause,
    )
  }
  worker.unref()
  let reported = false
  const report = (error: unknown) => {
    reported = true
    failed(error, ends)
  }
  worker.on('message', (error: unknown) => failed(error, false))
  worker.on('error', report)
  worker.on('exit', () => {
    native().forgetDevice(token)
    if (reported) return
    report(new KvmAccelError('ERR_DEVICE_WORKER', `the worker of device '${name}' ended before its machine`))
  })
}
