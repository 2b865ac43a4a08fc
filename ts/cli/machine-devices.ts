import type { MachineOptions } from '../machine/options.js'
import type { SerialTarget } from '../machine/serial/target.js'
import type { ConsoleOptions } from '../machine/virtio/console.js'
import type { BoardDraft, CharacterTarget, PortDraft } from './board-draft.js'
import type { RunDraft } from './run-draft.js'

/** The devices of a command line as options of a machine. */
export function machineDevices(board: BoardDraft, draft: RunDraft): Partial<MachineOptions> {
  const { disks, networks, rng, vsock, balloon, consoles, debugConsole, debugExit, testDevices, pvpanic, serials } =
    board
  const { vmGenerationId } = board
  return {
    ...(serials.slice(1).some(target => target !== null)
      ? { serials: serials.map(target => target && serialTarget(target)) }
      : { serial: serialTarget(serials[0] ?? 'null') }),
    ...(debugConsole !== undefined && {
      debugConsole: { port: debugConsole.port, target: serialTarget(debugConsole.target) },
    }),
    ...(draft.rtc !== undefined && { rtc: draft.rtc }),
    ...(disks.length > 0 && { disks }),
    ...(networks.length > 0 && { networks }),
    ...(debugExit !== undefined && { debugExit }),
    ...(draft.fwCfg.size > 0 && { fwCfg: Object.fromEntries(draft.fwCfg) }),
    ...(testDevices !== undefined && { testDevices }),
    ...(pvpanic !== undefined && { pvpanic }),
    ...(vmGenerationId !== undefined && { vmGenerationId }),
    ...(rng !== undefined && { rng }),
    ...(vsock !== undefined && { vsock }),
    ...(balloon !== undefined && { balloon }),
    ...(consoles.length > 0 && { consoles: consoles.map(consolePort) }),
  }
}

function consolePort({ target, name }: PortDraft): ConsoleOptions {
  return { target: serialTarget(target), ...(name !== undefined && { name }) }
}

function serialTarget(target: CharacterTarget): SerialTarget {
  if (typeof target === 'string' || 'file' in target) return target
  const { address, server, wait } = target.socket
  return { socket: 'path' in address ? address.path : address, server, wait }
}
