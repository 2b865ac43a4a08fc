const TERMINATING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** What ends a machine from outside: a signal, or the terminal's keys for it. */
export type Ending = NodeJS.Signals | 'Ctrl-A x'

/** The first signal that asks this process to end. While it is not disposed the process stays alive. */
export class Signals implements Disposable {
  /** Resolves with the first one. */
  readonly received: Promise<Ending>
  #resolve: (ending: Ending) => void = () => {}
  readonly #raise = (signal: NodeJS.Signals): void => this.raise(signal)
  /** A listener for signals does not keep the event loop alive, and a machine that waits in prelaunch does not either. */
  readonly #alive = setInterval(() => {}, 2 ** 30)

  constructor() {
    this.received = new Promise(resolve => {
      this.#resolve = resolve
    })
    for (const signal of TERMINATING) process.on(signal, this.#raise)
  }

  /** Behaves as if this had come. */
  raise(ending: Ending): void {
    this.#resolve(ending)
  }

  [Symbol.dispose](): void {
    for (const signal of TERMINATING) process.off(signal, this.#raise)
    clearInterval(this.#alive)
  }
}
