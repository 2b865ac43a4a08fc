import { isaDevices } from './isa.js'
import type { DeviceModel } from './device-model.js'
import { consoleDevices, virtioDevices } from './virtio.js'

/** All devices of `-device`, in the order in which help shows them. */
export const deviceModels: readonly DeviceModel[] = [...virtioDevices, ...consoleDevices, ...isaDevices]
