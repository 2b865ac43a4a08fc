// Ports of the virtio console in normal form.

import * as v from 'valibot'
import { MachineConfigError } from '../../../errors/machine-config-error.js'
import { explicitSerial, normaliseSerial, serialShape, serialTakes, type Serial, type SerialTarget } from '../serial.js'

/** A port of the virtio console, QEMU's `-device virtconsole` or with a name `-device virtserialport`. */
export interface ConsoleOptions {
  /** Where it leads. Input comes from a socket's client or a terminal, and from whoever writes to the port's stream. */
  readonly target: SerialTarget
  /**
   * Makes it a channel of bytes: Linux has it as `/dev/vport0p1` and so on, and udev as `/dev/virtio-ports/NAME`. No other port has this name; at
   * most 64 bytes.
   *
   * @default no name: a terminal, which Linux has as `/dev/hvc0` and so on
   */
  readonly name?: string
}

/** {@link ConsoleOptions}, everything set. */
export interface NormalConsole {
  readonly target: Serial
  readonly name: string | null
}

/** As the device has it. */
const MAX_PORTS = 16
/** Longer names do not fit into what drivers expect of a message. */
const MAX_NAME = 64

/** Shape only. */
export const consolesShape = v.pipe(
  v.array(
    v.strictObject({
      target: serialShape,
      name: v.optional(
        v.pipe(
          v.string(),
          v.nonEmpty(),
          v.check(name => !name.includes('\0') && Buffer.byteLength(name) <= MAX_NAME),
        ),
      ),
    }),
  ),
  v.maxLength(MAX_PORTS),
)

/** What the option takes, for messages. */
export const consolesTakes = `a list of up to ${MAX_PORTS} { target, name } with a name of at most ${MAX_NAME} bytes and target ${serialTakes}`

/** Fills in the defaults and checks what needs no host. */
export function normaliseConsoles(consoles: readonly ConsoleOptions[]): readonly NormalConsole[] {
  const names = new Set<string>()
  return consoles.map(({ target, name = null }) => {
    if (name !== null && names.has(name)) {
      throw new MachineConfigError(`two consoles have the name '${name}'`, {
        option: 'consoles',
        remedy: 'Give each channel a name of its own.',
      })
    }
    if (name !== null) names.add(name)
    return { target: normaliseSerial(target), name }
  })
}

/** The options that have this normal form. */
export function explicitConsoles(consoles: readonly NormalConsole[]): ConsoleOptions[] {
  return consoles.map(({ target, name }) => ({ target: explicitSerial(target), ...(name !== null && { name }) }))
}
