import { createServer, type Server, type Socket } from 'node:net'
import { createInterface } from 'node:readline'

type Message = { readonly event?: string; readonly return?: unknown; readonly error?: { readonly desc: string } }

/**
 * The part of QMP that the comparison needs. QEMU connects to this server (`-qmp unix:PATH`), so
 * that it cannot end before the test listens.
 */
export class Qmp {
  readonly #server: Server
  readonly #onStop: (qmp: Qmp) => void
  #socket: Socket | undefined
  #answers: ((message: Message) => void)[] = []

  /**
   * @param onStop - called when the machine may have stopped: at its `STOP` event, and once after
   * the negotiation.
   */
  constructor(path: string, onStop: (qmp: Qmp) => void) {
    this.#onStop = onStop
    this.#server = createServer(socket => this.#connected(socket)).listen(path)
  }

  close(): void {
    this.#socket?.destroy()
    this.#server.close()
  }

  execute(command: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#answers.push(({ error, return: value }) => (error ? reject(new Error(error.desc)) : resolve(value)))
      this.#socket?.write(JSON.stringify({ execute: command }))
    })
  }

  #connected(socket: Socket): void {
    this.#socket = socket
    socket.on('error', () => {})
    createInterface(socket).on('line', line => {
      const message = JSON.parse(line) as Message & { readonly QMP?: unknown }
      // QEMU sends events only after the negotiation. `onStop` therefore queries the state of a
      // machine that stopped before it.
      if (message.QMP) void this.execute('qmp_capabilities').then(() => this.#onStop(this))
      else if (message.event === 'STOP') this.#onStop(this)
      else if (message.event === undefined) this.#answers.shift()?.(message)
    })
  }
}
