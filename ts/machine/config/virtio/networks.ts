import type { Entry, NormalOf, OptionsOf } from '../../../schema/entry.js'
import { build } from '../../../schema/build.js'
import { unknownMember } from '../../../schema/invalid.js'
import { list, object, readMembers, withDefault } from '../../../schema/compound.js'
import { choice, integer, socketPath, text } from '../../../schema/scalars.js'
import { throttleObject } from './throttle.js'

const forwardMembers = {
  /**
   * The protocol.
   *
   * @default 'tcp'
   */
  protocol: choice(['tcp', 'udp'], { default: 'tcp' }),
  /**
   * The address of the host on which the port listens.
   *
   * @default all addresses
   */
  hostAddress: text({
    pattern: { regex: /^[\da-fA-F.:]+$/, takes: 'an IPv4 or IPv6 address' },
    default: null,
    defaultText: 'all addresses',
  }),
  /** The host's port, 0 to 65535. 0 chooses a free port, which {@linkcode Machine.options} has. */
  hostPort: integer({ min: 0, max: 0xffff }),
  /** The guest's port, 1 to 65535. */
  guestPort: integer({ min: 1, max: 0xffff }),
}

/** A port of the host that is forwarded to a port of the guest. */
export interface Forward extends OptionsOf<typeof forwardMembers> {}

const forwardObject: Entry<Forward, NormalOf<typeof forwardMembers>, 'required'> = object('Forward', forwardMembers)

/**
 * The back end of a network:
 * - `tap`: an interface of the host that exists, or with `create` a new one, which exists as long as
 *   the machine. The kernel replaces `%d` in its name by a number;
 * - `user`: a network without privileges on the host, by the program passt, which must be
 *   installed;
 * - `stream`: a Unix socket that uses QEMU's `-netdev stream`, to which the machine connects.
 *   At most 107 bytes.
 */
export type NetworkBackend =
  | { readonly tap: string | { readonly create: string } }
  | { readonly user: true | { readonly forwards?: readonly Forward[] } }
  | { readonly stream: string }

const word = text({ nonEmpty: true })
const unixPath = socketPath()
const tapMembers = { create: word }
const userMembers = { forwards: list(forwardObject) }

const backend = build<NetworkBackend, NetworkBackend, undefined>(
  {
    takes:
      '{ tap: INTERFACE }, { tap: { create: INTERFACE } }, { stream: PATH }, { user: true } or { user: { forwards: [Forward] } }',
    nested: { name: 'Forward', members: forwardMembers },
    read: (value, path) => {
      if (typeof value !== 'object' || value === null) return undefined
      const [[kind, argument] = [], ...more] = Object.entries(value)
      const unknown = Object.keys(value).find(key => !['tap', 'user', 'stream'].includes(key))
      if (unknown !== undefined && !Array.isArray(value)) throw unknownMember(path, unknown, ['tap', 'user', 'stream'])
      if (more.length > 0) return undefined
      if (kind === 'tap') return { tap: readTap(argument, `${path}.tap`) }
      if (kind === 'stream') return { stream: unixPath.read(argument, `${path}.stream`) }
      if (kind !== 'user') return undefined
      if (typeof argument === 'object' && argument !== null) readMembers(userMembers, argument, `${path}.user`)
      else if (argument !== true) return undefined
      return value as NetworkBackend
    },
    write: normal => normal,
  },
  {},
)

function readTap(value: unknown, path: string): string | { readonly create: string } {
  return typeof value === 'object' && value !== null ? readMembers(tapMembers, value, path) : word.read(value, path)
}

const macArgument = {
  takes: 'XX:XX:XX:XX:XX:XX',
  read: (word: string) => (/^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$/.test(word) ? word.toLowerCase() : undefined),
}

const mac = {
  regex: /^(?!(?:00:){5}00$)[\da-fA-F][02468aceACE](:[\da-fA-F]{2}){5}$/,
  takes:
    "the MAC of one interface, six bytes in hexadecimal of which the first is even, for example '52:54:00:12:34:56'",
}

export const networkMembers = {
  /** The back end of the network: a tap interface, a network without privileges, or a Unix socket. */
  backend,
  /**
   * The MAC address: six bytes in hexadecimal with colons.
   *
   * @default a random one for each card
   */
  mac: text({
    pattern: mac,
    default: null,
    defaultText: 'a random one for each card',
    cli: 'mac',
    argument: macArgument,
  }),
  /**
   * The MTU in bytes that the device reports to the guest, 68 to 65535.
   *
   * @default none: guests use 1500
   */
  mtu: integer({
    min: 68,
    max: 0xffff,
    unit: 'bytes',
    default: null,
    defaultText: 'none: guests use 1500',
    cli: 'host_mtu',
  }),
  /**
   * The name of the card.
   *
   * @default 'net0' and so on
   */
  id: text({ nonEmpty: true, default: null, defaultText: "'net0' and so on", cli: 'id' }),
  /**
   * Rate limits, over both directions together. A frame counts as one operation.
   *
   * @default none
   */
  throttle: withDefault(throttleObject, { default: {}, defaultText: 'none' }),
}

/** A network card, QEMU's `-netdev` with `-device virtio-net-device`. */
export interface NetworkOptions extends OptionsOf<typeof networkMembers> {}

type Members = NormalOf<typeof networkMembers>

/** {@link NetworkOptions} in normal form. Without `mtu`, the device reports no MTU. */
export interface NormalNetwork extends Omit<Members, 'mac' | 'mtu' | 'id'> {
  readonly mac: string
  readonly mtu?: number
  readonly id: string
}

const networkObject: Entry<NetworkOptions, Members, 'required'> = object('NetworkOptions', networkMembers)

export const networksEntry = list(networkObject, {
  cli: '-device virtio-net-device',
  rules: {
    finish: (networks): readonly NormalNetwork[] =>
      networks.map(({ mac, mtu, id, ...network }, index) => ({
        ...network,
        mac: mac ?? randomMac(),
        ...(mtu !== null && { mtu }),
        id: id ?? `net${index}`,
      })),
    restore: networks => networks.map(network => ({ mtu: null, ...network })),
  },
})

/** Returns the six bytes of a MAC address. */
export const macBytes = (mac: string): number[] => mac.split(':').map(byte => parseInt(byte, 16))

/** Returns a random MAC address in QEMU's range. */
const randomMac = (): string => {
  const random = [...crypto.getRandomValues(new Uint8Array(3))]
  return ['52', '54', '00', ...random.map(byte => byte.toString(16).padStart(2, '0'))].join(':')
}
