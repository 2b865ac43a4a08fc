import type { Duplex } from 'node:stream'

/** The time for which the end of a machine waits for readers of its last output, in ms. */
const LAST_OUTPUT = 1000

/** True if a program reads the stream. */
export const isRead = (stream: Duplex): boolean =>
  (stream.readableFlowing !== null || stream.listenerCount('readable') > 0) &&
  !stream.destroyed &&
  !stream.readableEnded

/**
 * Waits until the streams that are being read have emitted `'end'`, at most for {@link LAST_OUTPUT}.
 * The streams have ended: what they emit is in their buffers.
 */
export async function readToEnd(streams: readonly Duplex[]): Promise<void> {
  const ends = streams.filter(isRead).map(stream => ended(stream))
  if (ends.length > 0) await withinLastOutput(Promise.all(ends))
}

const ended = (stream: Duplex): Promise<void> =>
  new Promise(resolve => {
    stream.once('end', resolve)
    stream.once('close', resolve)
  })

/** Resolves when the work is done, or after {@link LAST_OUTPUT}. The work then continues. */
export async function withinLastOutput(work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<void>(resolve => {
    timer = setTimeout(resolve, LAST_OUTPUT)
  })
  await Promise.race([timeout, work])
  clearTimeout(timer)
}
