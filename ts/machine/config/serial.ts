// Where a serial port leads: what options say, and its normal form.

import { Writable } from 'node:stream'
import * as v from 'valibot'

/** A socket as a terminal: one client at a time. While there is none, what the guest writes is lost. */
export interface SocketTarget {
  /** Path of a Unix socket, or a TCP address; port 0 is any free one. */
  readonly socket: string | { readonly host?: string; readonly port: number }
  /**
   * Listens; otherwise it connects.
   *
   * @default false
   */
  readonly server?: boolean
  /**
   * The machine is made when the first client is there. Only with `server`.
   *
   * @default false
   */
  readonly wait?: boolean
}

/**
 * Where a serial port leads. `stdio` is this process's standard output, `stream` keeps what the guest writes for readers of the port's stream,
 * `{ file }` truncates and writes a file, `pty` is a
 * new pseudo-terminal, whose name the port's `path` has. Input comes from a socket's client or a terminal, and from whoever writes to the port's stream.
 */
export type SerialTarget = 'stdio' | 'null' | 'stream' | 'pty' | { readonly file: string } | SocketTarget | Writable

/** {@link SerialTarget} in normal form. */
export type Serial =
  | { readonly kind: 'stdio' | 'null' | 'stream' | 'pty' }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'writable'; readonly stream: Writable }
  | NormalSocket

/** {@link SocketTarget}, everything set. */
export interface NormalSocket {
  readonly kind: 'socket'
  readonly address: { readonly path: string } | { readonly host: string; readonly port: number }
  readonly server: boolean
  readonly wait: boolean
}

const words = v.pipe(
  v.string(),
  v.nonEmpty(),
  v.check(value => !value.includes('\0')),
)

/** Everything is checked here. */
export const serialShape = v.union([
  v.picklist(['stdio', 'null', 'stream', 'pty']),
  v.instance(Writable),
  v.strictObject({ file: words }),
  v.pipe(
    v.strictObject({
      socket: v.union([
        words,
        v.strictObject({
          host: v.optional(words),
          port: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffff)),
        }),
      ]),
      server: v.optional(v.boolean()),
      wait: v.optional(v.boolean()),
    }),
    v.check(({ server, wait }) => !wait || server === true),
  ),
])

/** What the option takes, for messages. */
export const serialTakes =
  "'stdio', 'null', 'stream', 'pty', { file: PATH }, { socket, server, wait } with the path of a socket or { host, port } and wait only with server, or a Writable"

/** Fills in the defaults. */
export function normaliseSerial(target: SerialTarget): Serial {
  if (typeof target === 'string') return { kind: target }
  if (target instanceof Writable) return { kind: 'writable', stream: target }
  if ('file' in target) return { kind: 'file', path: target.file }
  const { socket, server = false, wait = false } = target
  const address =
    typeof socket === 'string' ? { path: socket } : { host: socket.host ?? 'localhost', port: socket.port }
  return { kind: 'socket', address, server, wait }
}

/** The option that has this normal form. */
export function explicitSerial(serial: Serial): SerialTarget {
  switch (serial.kind) {
    case 'file':
      return { file: serial.path }
    case 'writable':
      return serial.stream
    case 'socket': {
      const { address, server, wait } = serial
      return { socket: 'path' in address ? address.path : address, server, wait }
    }
    default:
      return serial.kind
  }
}
