// The worker of a device whose writes raise its interrupt line. It reads as the last written value; a reset makes that 9.
import { serveDevice } from 'kvm-accel'

let latch = 0
serveDevice(device => ({
  read: () => latch,
  write: (offset, size, value) => {
    latch = Number(value)
    device.raise()
  },
  reset: () => {
    latch = 9
  },
}))
