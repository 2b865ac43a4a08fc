// The target of a port's bytes: of a serial port, the debug console, or a port of the virtio
// console.

import { Writable } from 'node:stream'
import { build } from '../../schema/build.js'
import { object } from '../../schema/compound.js'
import type { Entry, OptionsOf } from '../../schema/entry.js'
import { conflict, unknownMember } from '../../schema/invalid.js'
import { boolean, integer, path, socketPath, text } from '../../schema/scalars.js'

const addressMembers = {
  /**
   * A host name or an address.
   *
   * @default 'localhost'
   */
  host: text({ nonEmpty: true, default: 'localhost' }),
  /** A TCP port, 0 to 65535. 0 means any free port. */
  port: integer({ min: 0, max: 0xffff }),
}

const addressObject = object('TcpAddress', addressMembers)
const unixPath = socketPath()

const address = build<string | { readonly host?: string; readonly port: number }, NormalSocket['address'], undefined>(
  {
    takes: 'the path of a Unix socket, or { host, port }',
    read: (value, at) => {
      if (typeof value === 'string') return { path: unixPath.read(value, at) }
      return typeof value === 'object' && value !== null ? addressObject.read(value, at) : undefined
    },
    write: normal => ('path' in normal ? normal.path : normal),
  },
  {},
)

export const socketMembers = {
  /** The path of a Unix socket, at most 107 bytes, or a TCP address. Port 0 means any free port. */
  socket: address,
  /**
   * Listens on the socket. Otherwise the machine connects to it.
   *
   * @default false
   */
  server: boolean({ default: false, cli: '-chardev server' }),
  /**
   * Waits for the first client before the machine has been created. Requires `server`.
   *
   * @default false
   */
  wait: boolean({ default: false, cli: '-chardev wait' }),
}

/**
 * A socket as a terminal. It serves one client at a time. Without a client, the guest's output is
 * lost.
 */
export interface SocketTarget extends OptionsOf<typeof socketMembers> {}

/** {@link SocketTarget} in normal form. */
export interface NormalSocket {
  readonly kind: 'socket'
  readonly address: { readonly path: string } | { readonly host: string; readonly port: number }
  readonly server: boolean
  readonly wait: boolean
}

const socketObject: Entry<SocketTarget, NormalSocket, 'required'> = object('SocketTarget', socketMembers, {
  finish: ({ socket, server, wait }, at) => {
    if (wait && !server) throw conflict(at, "'wait' is given without 'server'", "Give both, or omit 'wait'.")
    return { kind: 'socket', address: socket, server, wait }
  },
  restore: ({ address, server, wait }) => ({ socket: address, server, wait }),
})

const fileObject = object('FileTarget', { file: path() })

/**
 * The target of a port:
 * - `stdio`: this process's standard output;
 * - `null`: none, the bytes are dropped;
 * - `stream`: readers of the port's stream. The guest's output is kept until they read it;
 * - `pty`: a new pseudo-terminal, whose name is the port's `path`;
 * - `{ file }`: a file, which is truncated;
 * - {@link SocketTarget}: a socket;
 * - a `Writable`.
 *
 * Input comes from a socket's client or a terminal, and from writes to the port's stream.
 */
export type SerialTarget = (typeof words)[number] | { readonly file: string | URL } | SocketTarget | Writable

/** {@link SerialTarget} in normal form. */
export type Serial =
  | { readonly kind: (typeof words)[number] }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'writable'; readonly stream: Writable }
  | NormalSocket

const words = ['stdio', 'null', 'stream', 'pty'] as const

/** A required target. */
export const targetEntry = build<SerialTarget, Serial, undefined>(
  {
    takes: "'stdio', 'null', 'stream', 'pty', { file }, { socket, server, wait } or a Writable",
    nested: { name: 'SocketTarget', members: socketMembers },
    read: readTarget,
    write: writeTarget,
  },
  {},
)

function readTarget(value: unknown, at: string): Serial | undefined {
  if (value instanceof Writable) return { kind: 'writable', stream: value }
  if (typeof value !== 'object' || value === null) {
    const kind = words.find(word => word === value)
    return kind && { kind }
  }
  if ('file' in value) return { kind: 'file', path: fileObject.read(value, at).file }
  if ('socket' in value) return socketObject.read(value, at)
  const [key] = Object.keys(value)
  if (key !== undefined && !Array.isArray(value)) throw unknownMember(at, key, ['file', ...Object.keys(socketMembers)])
  return undefined
}

function writeTarget(serial: Serial): SerialTarget {
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
