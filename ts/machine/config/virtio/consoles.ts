import type { Entry, NormalOf, OptionsOf } from '../../../schema/entry.js'
import { list, object } from '../../../schema/compound.js'
import { conflict } from '../../../schema/invalid.js'
import { text } from '../../../schema/scalars.js'
import { targetEntry } from '../serial.js'

/** The device's maximum number of ports. */
const MAX_PORTS = 16
/** Drivers reserve this many bytes for a name in a control message. */
const MAX_NAME = 64

export const consoleMembers = {
  /**
   * The target of the port. Input comes from a socket's client or a terminal, and from writes to
   * the port's stream.
   */
  target: targetEntry,
  /**
   * The name of a channel of bytes: at most 64 bytes, and unique among the ports. In Linux the
   * channel is `/dev/vport0p1` and so on, and udev adds `/dev/virtio-ports/NAME`.
   *
   * @default none: the port is a terminal, which Linux has as `/dev/hvc0` and so on
   */
  name: text({
    nonEmpty: true,
    maxBytes: MAX_NAME,
    default: null,
    defaultText: 'none: the port is a terminal, which Linux has as `/dev/hvc0` and so on',
    cli: 'name',
  }),
}

/** A port of the virtio console, QEMU's `-device virtconsole`, or with a name `-device virtserialport`. */
export interface ConsoleOptions extends OptionsOf<typeof consoleMembers> {}

/** {@link ConsoleOptions} in normal form. */
export interface NormalConsole extends NormalOf<typeof consoleMembers> {}

const consoleObject: Entry<ConsoleOptions, NormalConsole, 'required'> = object('ConsoleOptions', consoleMembers)

export const consolesEntry = list(consoleObject, {
  max: MAX_PORTS,
  cli: '-device virtconsole',
  rules: { finish: withUniqueNames, restore: consoles => consoles },
})

function withUniqueNames(consoles: readonly NormalConsole[], path: string): readonly NormalConsole[] {
  const names = new Set<string>()
  for (const { name } of consoles) {
    if (name !== null && names.has(name)) {
      throw conflict(path, `two consoles have the name '${name}'`, 'Give each channel its own name.')
    }
    if (name !== null) names.add(name)
  }
  return consoles
}
