// Runs two copies of the package in one process, as npm does for two versions. Machines of both
// copies stop at a signal, with and without listeners of the program for that signal.
// `process.argv[2]` names a folder for the second copy. Prints the results as JSON.

import { cpSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const [, , folder] = process.argv
const dist = new URL('../../dist/', import.meta.url)
cpSync(dist, join(folder, 'dist'), { recursive: true })
cpSync(new URL('../package.json', dist), join(folder, 'package.json'))
symlinkSync(fileURLToPath(new URL('../node_modules', dist)), join(folder, 'node_modules'))

const copies = [await import(new URL('index.js', dist)), await import(pathToFileURL(join(folder, 'dist/index.js')))]
const machines = []
const stops = []
const pauseAll = async () => {
  for (const machine of machines) {
    await machine.start()
    await machine.pause()
    stops.push(machine.state)
    await machine.resume()
  }
  for (const machine of machines) {
    await machine.pause()
    await machine.resume()
  }
}
const start = async () => {
  for (const { Machine, guestImage } of copies) machines.push(await Machine.create({ kernel: guestImage('spin') }))
}
const stopAll = async () => {
  for (const machine of machines.splice(0)) {
    await machine.stop()
    stops.push((await machine.wait()).reason)
  }
}

// The signal handler of each copy calls the handler of the other copy.
await start()
await pauseAll()
await stopAll()

// The program's own listener replaces both handlers while machines run.
await start()
let heard = 0
const listener = () => heard++
process.on('SIGURG', listener)
await pauseAll()
await stopAll()

// The program removes its listener while machines run, so that Node.js removes the signal's handler
// altogether.
await start()
for (const machine of machines) await machine.start()
process.off('SIGURG', listener)
await stopAll()

console.log(JSON.stringify({ different: copies[0].Machine !== copies[1].Machine, stops, heard: heard > 0 }))
