import type { MachineOptions } from '../../machine/config/machine-options.js'
import type { SerialTarget } from '../../machine/config/serial.js'
import type { ConsoleOptions } from '../../machine/config/virtio/consoles.js'
import type { BoardDraft, CharacterTarget, PortDraft } from './board-draft.js'
import type { RunDraft } from './run-draft.js'

/** Converts the devices of a command line to options of a machine. */
export function machineDevices(board: BoardDraft, draft: RunDraft): Partial<MachineOptions> {
  const { disks, networks, consoles, debugConsole, serials, ...plain } = board
  return {
    ...plain,
    ...serialPorts(serials, draft),
    ...(debugConsole !== undefined && {
      debugConsole: { port: debugConsole.port, target: serialTarget(debugConsole.target) },
    }),
    ...(draft.rtc !== undefined && { rtc: draft.rtc }),
    ...(disks.length > 0 && { disks }),
    ...(networks.length > 0 && { networks }),
    ...(draft.fwCfg.size > 0 && { fwCfg: Object.fromEntries(draft.fwCfg) }),
    ...(consoles.length > 0 && { consoles: consoles.map(consolePort) }),
  }
}

/** Adds COM1 unless the command line removes it. */
function serialPorts(serials: BoardDraft['serials'], draft: RunDraft): Pick<MachineOptions, 'serial' | 'serials'> {
  const [com1 = draft.machine.get('isa-serial') === 'off' ? null : 'null', ...more] = serials
  if (com1 !== null && more.every(target => target === null)) return { serial: serialTarget(com1) }
  return { serials: [com1, ...more].map(target => target && serialTarget(target)) }
}

function consolePort({ target, name }: PortDraft): ConsoleOptions {
  return { target: serialTarget(target), ...(name !== undefined && { name }) }
}

function serialTarget(target: CharacterTarget): SerialTarget {
  if (typeof target === 'string' || 'file' in target) return target
  const { address, server, wait } = target.socket
  return { socket: 'path' in address ? address.path : address, server, wait }
}
