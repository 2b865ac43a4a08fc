// Listens on a path or on a port of 127.0.0.1 (argv[2], 0 for any port) and prints the address.
// Never accepts a connection, because its event loop is blocked.
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
