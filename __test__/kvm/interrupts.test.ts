// Tests NMIs and the PIT's policy through the API. The guest writes each vector that it takes to port 0xe0.

import { Machine, guestImage, type LostTickPolicy } from '../../ts/index.js'
import { kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

/** Creates a machine whose guest takes interrupts. `next()` resolves with the next vector. */
const interrupted = async (lostTickPolicy?: LostTickPolicy) => {
  const machine = await Machine.create({
    kernel: guestImage('interrupts'),
    memory: '16M',
    ...(lostTickPolicy && { lostTickPolicy }),
  })
  const vectors: bigint[] = []
  let wake = (): void => {}
  await machine.addDevice({
    pio: [0xe0, 1],
    read: () => 0,
    write: (_offset, _size, value) => {
      vectors.push(BigInt(value))
      wake()
    },
  })
  const next = async (): Promise<bigint> => {
    while (vectors.length === 0) await new Promise<void>(resolve => (wake = resolve))
    return vectors.shift() ?? -1n
  }
  return { machine, next }
}

test('a guest takes the NMI of injectNmi() if its local APIC does not mask it', async t => {
  t.timeout(60_000)
  const { machine, next } = await interrupted()
  await using _ = machine
  await machine.start()
  t.is(await next(), 0n)
  await machine.injectNmi()
  t.is(await next(), 2n)
})

test('an NMI for a paused machine waits, and an NMI for an ended machine is an error', async t => {
  t.timeout(60_000)
  const { machine, next } = await interrupted('discard')
  await machine.start()
  t.is(await next(), 0n)
  await machine.pause()
  await machine.injectNmi()
  await machine.resume()
  t.is(await next(), 2n)
  await machine.stop()
  await t.throwsAsync(() => machine.injectNmi(), { code: 'ERR_MACHINE_STATE' })
})
