const TERMINATING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** A request to end the machine: a signal, or the keys of the terminal. */
export type Ending = NodeJS.Signals | 'Ctrl-A x'

/**
 * Waits for the first signal that asks this process to end. Keeps the process alive until it is
 * disposed.
 */
export class Signals implements Disposable {
  /** Resolves with the first request. */
  readonly received: Promise<Ending>
  #resolve: (ending: Ending) => void = () => {}
  readonly #raise = (signal: NodeJS.Signals): void => this.raise(signal)
  /** Keeps the event loop alive: listeners of signals and a machine in `prelaunch` do not. */
  readonly #alive = setInterval(() => {}, 2 ** 30)

  constructor() {
    this.received = new Promise(resolve => {
      this.#resolve = resolve
    })
    for (const signal of TERMINATING) process.on(signal, this.#raise)
  }

  /** Makes a request, as a signal does. */
  raise(ending: Ending): void {
    this.#resolve(ending)
  }

  [Symbol.dispose](): void {
    for (const signal of TERMINATING) process.off(signal, this.#raise)
    clearInterval(this.#alive)
  }
}
