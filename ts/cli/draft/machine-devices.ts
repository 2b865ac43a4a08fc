import type { MachineOptions } from '../../machine/config/machine-options.js'
import type { BoardDraft } from './board-draft.js'
import type { RunDraft } from './run-draft.js'

/** Returns the options of a machine for the devices of a command line. */
export function machineDevices(board: BoardDraft, draft: RunDraft): Partial<MachineOptions> {
  const { disks, networks, consoles, serials, ...plain } = board
  return {
    ...plain,
    ...serialPorts(serials, draft),
    ...(draft.rtc !== undefined && { rtc: draft.rtc }),
    ...(disks.length > 0 && { disks }),
    ...(networks.length > 0 && { networks }),
    ...(draft.fwCfg.size > 0 && { fwCfg: Object.fromEntries(draft.fwCfg) }),
    ...(consoles.length > 0 && { consoles }),
  }
}

/** Adds COM1 unless the command line removes it. */
function serialPorts(serials: BoardDraft['serials'], draft: RunDraft): Pick<MachineOptions, 'serial' | 'serials'> {
  const [com1 = draft.machine.get('isa-serial') === 'off' ? null : 'null', ...more] = serials
  if (com1 !== null && more.every(target => target === null)) return { serial: com1 }
  return { serials: [com1, ...more] }
}
