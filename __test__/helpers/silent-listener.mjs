// Listens at a path or a port of 127.0.0.1 (argv[2], 0 for any port), prints where, and never accepts: its event loop stands still.
import { createServer } from 'node:net'
import { writeSync } from 'node:fs'

const place = process.argv[2] ?? ''
const at = /^\d+$/.test(place) ? { host: '127.0.0.1', port: Number(place) } : { path: place }
const server = createServer().listen({ ...at, backlog: 1 })
server.once('listening', () => {
  const bound = server.address()
  writeSync(1, `${typeof bound === 'string' ? bound : bound?.port}\n`)
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
})
