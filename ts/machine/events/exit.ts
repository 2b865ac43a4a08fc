/** How a machine ended. */
export interface Exit {
  /**
   * - `guest-shutdown`: the guest powered off.
   * - `guest-panicked`: the guest's kernel reported a panic to `pvpanic`.
   * - `guest-reset`: the guest reset itself, and `noReboot` was set.
   * - `debug-exit`: the guest wrote to isa-debug-exit.
   * - `internal-error`: a vCPU could not continue. The machine stays for inspection until `stop()`
   *   or `reset()`.
   * - `host-quit`: `stop()` or disposal.
   * - `aborted`: the abort signal. `cause` is its reason.
   * - `handler-error`: a handler of a device or an MSR in JavaScript failed, or a listener of an
   *   event threw. `cause` is the error.
   */
  readonly reason:
    | 'guest-shutdown'
    | 'guest-panicked'
    | 'guest-reset'
    | 'debug-exit'
    | 'internal-error'
    | 'host-quit'
    | 'aborted'
    | 'handler-error'
  /** With `debug-exit`: the exit status that QEMU would have, `(value << 1) | 1`, 0 to 255. */
  readonly status?: number
  /** With `internal-error`: the error, in one line. */
  readonly detail?: string
  /** With `aborted`: the reason of the signal. With `handler-error`: the error. */
  readonly cause?: unknown
  /** With `internal-error`: registers and code bytes in QEMU's format, several lines. */
  readonly report?: string
}
