/** How a machine ended. */
export interface Exit {
  /**
   * - `guest-shutdown`: the guest powered off.
   * - `guest-panicked`: the guest's kernel reported a panic to `pvpanic`.
   * - `guest-reset`: the guest reset itself, and `noReboot` was set.
   * - `debug-exit`: the guest wrote to isa-debug-exit.
   * - `internal-error`: a vCPU could not continue. The machine stays for inspection until `stop()`
   *   or `reset()`.
   * - `host-quit`: `stop()`, disposal or the abort signal.
   */
  readonly reason: 'guest-shutdown' | 'guest-panicked' | 'guest-reset' | 'debug-exit' | 'internal-error' | 'host-quit'
  /** With `debug-exit`: the exit status that QEMU would have, `(value << 1) | 1`, 0 to 255. */
  readonly status?: number
  /** With `internal-error`: the error, in one line. */
  readonly detail?: string
  /** With `internal-error`: registers and code bytes in QEMU's format, several lines. */
  readonly report?: string
}
