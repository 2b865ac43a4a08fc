// Runs a busy machine through a random lifecycle: pause, resume, step, memory reads, resets by the
// host and by the guest, and waits. abort.test.ts ends it at a random moment. As a worker of
// worker_threads it runs until the worker is terminated. As a process, with the options as JSON, it
// exits by itself at the moment that the JSON names.

import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { Machine } from 'kvm-accel'
import { random } from './random.mjs'

/**
 * Creates and starts a machine, and keeps it occupied until it has ended. Resolves then. An
 * operation that the end refuses is not an error.
 */
export const live = async (options, seed, born = () => {}) => {
  const next = random(seed)
  let machine
  try {
    machine = await Machine.create(options)
  } catch (error) {
    if (options.signal?.aborted) return
    throw error
  }
  born(machine)
  let over = false
  void machine.wait().then(() => (over = true))
  const acts = [
    async () => {
      await machine.pause()
      await machine.resume()
    },
    async () => {
      await machine.pause()
      await machine.debug.readMemory(0, 8 * 2 ** 20, { physical: true })
      await machine.debug.step()
      await machine.resume()
    },
    () => machine.reset(),
    async () => void machine.serial.write('r'),
    async () => void machine.serial.write('s'),
  ]
  try {
    await machine.start()
    while (!over) {
      await sleep(next() * 20)
      await acts[Math.floor(next() * acts.length)]()
    }
  } catch {
    // The machine has ended, or a pause came between two operations. Wait for the end.
  }
  await machine.wait()
}

if (!isMainThread) {
  const { options, seed } = workerData
  parentPort.postMessage('begins')
  void live(options, seed)
} else if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { options, seed, moment } = JSON.parse(process.argv[2])
  setTimeout(() => {
    // No code of this process runs after its exit, so the other process measures the time.
    process.stdout.write('exits\n', () => process.exit(7))
  }, moment)
  void live(options, seed)
}
