// Tests user-mode networking by passt from inside a Linux guest.

import { readFileSync, readdirSync } from 'node:fs'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { Machine, guestImage } from 'kvm-accel'
import { freePort } from '../helpers/free-port.js'
import { linuxGuest } from '../helpers/linux-guest.js'
import { consoleOf, webServer } from '../helpers/network-guest.js'
import { kvm, linux, passt, requires } from '../helpers/requires.js'

const children = (): number =>
  readdirSync('/proc').filter(name => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/stat`, 'utf8').includes('(passt')
    } catch {
      return false
    }
  }).length

requires(
  kvm,
  linux,
  passt,
)('passt connects guest and host in both directions, and ends with the machine', async t => {
  t.timeout(600_000)
  using server = await webServer('127.0.0.1')
  const hostPort = 20_000 + (process.pid % 20_000)
  const before = children()
  const guest = linuxGuest(
    `
mount -t sysfs sys /sys
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
wget -q -O - http://10.0.2.2:${server.port}/
cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu
echo listening
echo hello from the guest > /answer
nc -l -p 80 < /answer
`,
    { kernel: 'net' },
  )
  const forward = { hostAddress: '127.0.0.1', hostPort, guestPort: 80 }
  let answer = ''
  let during = 0
  const network = { backend: { user: { forwards: [forward] } }, mac: '52:54:00:12:34:56', mtu: 1400 } as const
  const text = await consoleOf({ ...guest, networks: [network] }, line => {
    if (line.trim() !== 'listening') return
    during = children()
    // The guest may not listen yet. passt then refuses the connection, and the test tries again.
    const ask = (): void => {
      const socket = connect(hostPort, '127.0.0.1')
      // passt of Debian 12 completes a connection with the first data of the host's side.
      socket.write('hello to the guest\n')
      socket.on('data', chunk => (answer += String(chunk)))
      socket.on('error', () => {})
      socket.on('close', () => answer === '' && setTimeout(ask, 200).unref())
    }
    ask()
  })
  t.regex(text, /^hello from the host\r?$/m)
  t.regex(text, /^52:54:00:12:34:56\r?\n1400\r?$/m)
  t.regex(text, /^hello to the guest\r?$/m)
  t.is(answer, 'hello from the guest\n')
  t.is(during, before + 1)
  t.is(children(), before)
})

requires(kvm, passt)('hostPort 0 chooses free ports, and options has them', async t => {
  const forwards = [
    { hostAddress: '127.0.0.1', hostPort: 0, guestPort: 80 },
    { hostPort: 0, guestPort: 81 },
    { protocol: 'udp', hostPort: 0, guestPort: 82 },
  ] as const
  const kernel = guestImage('spin')
  const machine = await Machine.create({ kernel, memory: '16M', networks: [{ backend: { user: { forwards } } }] })
  const backend = machine.options.networks?.[0]?.backend
  const chosen = backend && 'user' in backend && backend.user !== true ? (backend.user.forwards ?? []) : []
  t.deepEqual(
    chosen.map(({ guestPort }) => guestPort),
    [80, 81, 82],
  )
  t.is(new Set(chosen.map(({ hostPort }) => hostPort)).size, 3)
  const [port = 0] = chosen.map(({ hostPort }) => hostPort)
  t.true(port > 0)
  const taken = createServer().listen({ port, host: '127.0.0.1' })
  const [error] = (await once(taken, 'error')) as [NodeJS.ErrnoException]
  t.is(error.code, 'EADDRINUSE')
  await machine.stop()
})

for (const end of ['wait', 'stop'] as const) {
  requires(kvm, passt)(`after ${end}() the next machine forwards the same port at once`, async t => {
    const hostPort = await freePort()
    const forward = { hostAddress: '127.0.0.1', hostPort, guestPort: 80 }
    for (let round = 0; round < 20; round++) {
      const networks = [{ backend: { user: { forwards: [forward] } } }]
      const machine = await Machine.create({ kernel: guestImage('hello'), memory: '16M', noReboot: true, networks })
      await machine.start()
      await machine[end]()
    }
    t.pass()
  })
}
