// Networks in normal form.

import * as v from 'valibot'
import { MachineConfigError } from '../../../errors/machine-config-error.js'
import { normaliseThrottle, throttleShape, type NormalThrottle, type ThrottleOptions } from './throttle.js'

/** A port of the host that leads into the guest. */
export interface Forward {
  /** @default 'tcp' */
  readonly protocol?: 'tcp' | 'udp'
  /**
   * The host's address that listens.
   *
   * @default all of them
   */
  readonly hostAddress?: string
  /** The host's port, 1 to 65535. */
  readonly hostPort: number
  /** The guest's port, 1 to 65535. */
  readonly guestPort: number
}

/**
 * Where a network leads: `tap` is an interface of the host; `user` is a network without rights on the host, by passt, a process that has to be
 * installed; `stream` is a Unix socket that speaks QEMU's `-netdev stream`, to which the machine connects.
 */
export type NetworkBackend =
  | { readonly tap: string }
  | { readonly user: true | { readonly forwards?: readonly Forward[] } }
  | { readonly stream: string }

/** A network card of the guest, QEMU's `-netdev` with `-device virtio-net-device`. */
export interface NetworkOptions {
  /** Where it leads. */
  readonly backend: NetworkBackend
  /**
   * The guest's address: six bytes in hexadecimal with colons.
   *
   * @default one of its own for each card, random
   */
  readonly mac?: string
  /**
   * Bytes of a frame's contents, 68 to 65535.
   *
   * @default what the guest assumes, 1500
   */
  readonly mtu?: number
  /** A name, for people. */
  readonly id?: string
  /**
   * Rate limits, over both directions together; a frame is an operation.
   *
   * @default none
   */
  readonly throttle?: ThrottleOptions
}

/** {@link NetworkOptions}, everything set but an MTU that the guest is not told. */
export interface NormalNetwork extends NetworkOptions {
  readonly mac: string
  readonly id: string
  readonly throttle: NormalThrottle
}

const text = v.pipe(
  v.string(),
  v.nonEmpty(),
  v.check(value => !value.includes('\0')),
)
const port = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(0xffff))

const forward = v.strictObject({
  protocol: v.optional(v.picklist(['tcp', 'udp'])),
  hostAddress: v.optional(v.pipe(v.string(), v.regex(/^[\da-fA-F.:]+$/))),
  hostPort: port,
  guestPort: port,
})

/** Everything but the address is checked here. */
export const networksShape = v.array(
  v.strictObject({
    backend: v.union([
      v.strictObject({ tap: text }),
      v.strictObject({
        user: v.union([v.literal(true), v.strictObject({ forwards: v.optional(v.array(forward)) })]),
      }),
      v.strictObject({ stream: text }),
    ]),
    mac: v.optional(v.string()),
    mtu: v.optional(v.pipe(v.number(), v.integer(), v.minValue(68), v.maxValue(0xffff))),
    id: v.optional(text),
    throttle: v.optional(throttleShape),
  }),
)

/** What the option takes, for messages. */
export const networksTakes =
  'a list of { backend, mac, mtu, id, throttle } with backend { tap: INTERFACE }, { stream: PATH }, { user: true } or ' +
  '{ user: { forwards: [{ protocol, hostAddress, hostPort, guestPort }] } }, and mtu from 68 to 65535'

/** Fills in the defaults and checks addresses. */
export function normaliseNetworks(networks: readonly NetworkOptions[]): readonly NormalNetwork[] {
  return networks.map(({ backend, mac = randomMac(), mtu, id, throttle = {} }, index) => ({
    backend,
    mac: checkedMac(mac),
    ...(mtu !== undefined && { mtu }),
    id: id ?? `net${index}`,
    throttle: normaliseThrottle(throttle, 'networks'),
  }))
}

/** The six bytes of an address. */
export const macBytes = (mac: string): number[] => mac.split(':').map(byte => parseInt(byte, 16))

/** Of one interface, and of nobody's range: QEMU's first three bytes. */
const randomMac = (): string => {
  const random = [...crypto.getRandomValues(new Uint8Array(3))]
  return ['52', '54', '00', ...random.map(byte => byte.toString(16).padStart(2, '0'))].join(':')
}

function checkedMac(mac: string): string {
  const [first = 1, ...rest] = /^([\da-fA-F]{2}:){5}[\da-fA-F]{2}$/.test(mac) ? macBytes(mac) : []
  if (first % 2 === 0 && (first !== 0 || rest.some(byte => byte !== 0))) return mac
  throw new MachineConfigError(`'${mac}' is not the MAC of one interface`, {
    option: 'networks',
    remedy: "Six bytes in hexadecimal, of which the first is even: for example '52:54:00:12:34:56'.",
  })
}
