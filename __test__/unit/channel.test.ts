// A channel collects the single bytes of a UART. A FIFO stands for the pipe of a serial port.

import test from 'ava'
import { spawnSync } from 'node:child_process'
import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { Channel } from '../../ts/machine/devices/ports/channel.js'
import { scratch } from '../helpers/paths.js'

/** Opens both ends of a new FIFO. Passes what arrives, one text for each event. */
const open = (name: string) => {
  const path = join(scratch(), name)
  spawnSync('mkfifo', [path])
  const writer = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  const channel = new Channel(openSync(path, constants.O_RDONLY | constants.O_NONBLOCK), false)
  const events: string[] = []
  const receiver = { take: (bytes: Buffer) => events.push(String(bytes)) > 0, ended: () => {} }
  channel.attach(receiver)
  channel.keepAlive(true)
  channel.resume()
  const close = () => {
    channel.close()
    closeSync(writer)
  }
  return { channel, events, receiver, write: (text: string) => writeSync(writer, text), [Symbol.dispose]: close }
}

/** Lets the event loop read what is there. */
const turns = async () => {
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
}

/** Waits for an event. */
const arrived = async (events: readonly string[], count: number) => {
  while (events.length < count) await new Promise(setImmediate)
}

/** Replaces the channel's timer by one that a test calls. */
const timers: (() => void)[] = []
const { setTimeout } = globalThis
test.beforeEach(() => {
  timers.length = 0
  const fake = (callback: () => void) => {
    timers.push(callback)
    return { ref() {}, unref() {}, [Symbol.toPrimitive]: () => 0 }
  }
  globalThis.setTimeout = fake as unknown as typeof setTimeout
})
test.afterEach(() => {
  globalThis.setTimeout = setTimeout
})

test.serial('the first byte arrives at once, and later single bytes together in one event', async t => {
  using port = open('together')
  port.write('a')
  await arrived(port.events, 1)
  for (const byte of 'bcdefg') {
    port.write(byte)
    await turns()
  }
  t.deepEqual(port.events, ['a'])
  t.is(timers.length, 1)
  timers[0]?.()
  await arrived(port.events, 2)
  t.deepEqual(port.events, ['a', 'bcdefg'])
})

test.serial('4 KiB at once do not delay what follows', async t => {
  using port = open('large')
  port.write('a'.repeat(4096))
  await arrived(port.events, 1)
  t.is(timers.length, 0)
  port.write('b')
  await arrived(port.events, 2)
  t.is(port.events[1], 'b')
})

test.serial('an answer to input is not delayed', async t => {
  using port = open('answer')
  port.write('a')
  await arrived(port.events, 1)
  port.write('b')
  await turns()
  t.deepEqual(port.events, ['a'])
  port.channel.inputPassed()
  await arrived(port.events, 2)
  t.deepEqual(port.events, ['a', 'b'])
})

test.serial('drain() passes collected bytes, in order and once', async t => {
  using port = open('drain')
  port.write('a')
  await arrived(port.events, 1)
  port.write('bc')
  port.channel.drain()
  t.deepEqual(port.events, ['a', 'bc'])
  timers[0]?.()
  await turns()
  t.deepEqual(port.events, ['a', 'bc'])
})

test.serial('bytes that arrive without a receiver are passed to the next receiver', async t => {
  using port = open('kept')
  port.write('a')
  await arrived(port.events, 1)
  port.channel.inputPassed()
  // Node.js reads once more after this resume().
  port.channel.attach(undefined)
  port.write('b')
  await turns()
  port.channel.attach(port.receiver)
  port.channel.resume()
  await arrived(port.events, 2)
  t.deepEqual(port.events, ['a', 'b'])
})
