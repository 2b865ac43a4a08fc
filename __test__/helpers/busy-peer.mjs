// The other end of busy machines' networks and vsock connections. A process of its own, so that it
// uses no time of the machines' process. Listens on the Unix sockets that standard input names, one
// in each line, and acknowledges each with the line `ready`. Discards the data of each client, and
// sends without a pause. The last argument slows the sending down: milliseconds between two
// batches.
//
// All data are frames of QEMU's `-netdev stream`; a vsock connection accepts any bytes.

import { createServer } from 'node:net'
import { createInterface } from 'node:readline'

const FRAME = 1000
const frame = Buffer.alloc(4 + FRAME, 0xff)
frame.writeUInt32BE(FRAME)
const batch = Buffer.concat(Array.from({ length: 64 }, () => frame))
const interval = Number(process.argv[2] ?? 0)

const serve = socket => {
  socket.on('data', () => {})
  socket.on('error', () => {})
  const send = () => {
    if (socket.destroyed || !socket.writable) return
    socket.write(batch, () => (interval > 0 ? setTimeout(send, interval) : setImmediate(send)))
  }
  send()
}

for await (const path of createInterface({ input: process.stdin })) {
  await new Promise((resolve, reject) => createServer(serve).once('error', reject).listen(path, resolve))
  process.stdout.write('ready\n')
}
process.exit()
