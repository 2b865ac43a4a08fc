// Shared by tests of networks: a web server on the host, and a guest whose console is read to its
// end.

import { Machine, type MachineOptions } from 'kvm-accel'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'

/** Starts a web server at an address of the host. It answers `hello from the host`. */
export async function webServer(host: string): Promise<{ readonly port: number } & Disposable> {
  const server = createServer((_, response) => response.end('hello from the host\n'))
  await once(server.listen(0, host), 'listening')
  return { port: (server.address() as AddressInfo).port, [Symbol.dispose]: () => void server.close() }
}

/**
 * Runs a guest to its end and returns its console. `onLine` is called with each line as it arrives.
 */
export async function consoleOf(options: MachineOptions, onLine: (line: string) => void = () => {}): Promise<string> {
  await using machine = await Machine.create(options)
  await machine.start()
  let text = ''
  for await (const line of createInterface(machine.serial)) {
    text += `${line}\n`
    onLine(line)
  }
  await machine.wait()
  return text
}
