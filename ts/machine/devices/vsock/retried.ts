import { setTimeout as sleep } from 'node:timers/promises'
import { VsockError } from '../../../errors/operation/vsock-error.js'

/** The time before the next attempt, in ms. */
const AGAIN = 50

/**
 * Tries to connect until the guest accepts.
 *
 * @throws `VsockError` `timeout` after `timeout` ms, with the last refusal as its cause; the reason of
 * `signal` when it is aborted; any error but a refusal at once.
 */
export async function retried<T>(
  connect: (signal: AbortSignal) => Promise<T>,
  {
    port,
    timeout,
    signal,
  }: { readonly port: number; readonly timeout: number; readonly signal: AbortSignal | undefined },
): Promise<T> {
  signal?.throwIfAborted()
  const attempts = new AbortController()
  let refusal: unknown
  const expired = () => {
    const message = `cannot connect to port ${port} of the guest: it has not accepted within ${timeout} ms`
    const remedy = 'Check that a program of the guest listens on the port, or wait longer.'
    attempts.abort(new VsockError(message, { problem: 'timeout', remedy, cause: refusal }))
  }
  const aborted = () => attempts.abort(signal?.reason)
  const timer = setTimeout(expired, timeout)
  signal?.addEventListener('abort', aborted, { once: true })
  try {
    for (;;) {
      try {
        return await connect(attempts.signal)
      } catch (error) {
        attempts.signal.throwIfAborted()
        if (!(error instanceof VsockError) || !['refused', 'not-ready'].includes(error.problem)) throw error
        refusal = error
      }
      await sleep(AGAIN, undefined, { signal: attempts.signal }).catch(() => attempts.signal.throwIfAborted())
    }
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', aborted)
  }
}
