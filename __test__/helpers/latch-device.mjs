// A device's worker: a latch that reads back one more than was written, and throws when told to.
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
