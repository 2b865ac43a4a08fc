// The worker of a device: a latch that reads as the last written value plus one. Throws when 0xdead
// is written.
import { workerData } from 'node:worker_threads'
import { serveDevice } from 'kvm-accel'

let latch = workerData.data?.start ?? 0
serveDevice({
  read: () => latch + 1,
  write: (offset, size, value) => {
    if (value === 0xdead) throw new Error('the latch broke')
    latch = Number(value)
  },
})
