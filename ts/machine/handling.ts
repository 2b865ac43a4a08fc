import { AsyncLocalStorage } from 'node:async_hooks'

/** Which code of the user's runs while a vCPU waits for its answer: it must not wait for that vCPU to stop. */
export class Handling {
  readonly #calls = new AsyncLocalStorage<{ open: boolean }>()

  /** Whether the caller is such code. */
  get open(): boolean {
    return this.#calls.getStore()?.open === true
  }

  /** Runs a handler, which never rejects. */
  run(handle: () => Promise<void>): void {
    const call = { open: true }
    void this.#calls.run(call, handle).finally(() => (call.open = false))
  }
}
