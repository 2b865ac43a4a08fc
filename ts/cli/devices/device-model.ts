import { OptionError } from '../../errors/options/option-error.js'
import type { OptionPair } from '../../properties/option-text.js'
import type { AddDevice, Board } from '../draft/board.js'
import { id, only, readParameters, type Given, type Parameters, type Subject } from '../parameters/parameters.js'

/** A device of `-device`: the source for parsing, for `-device help` and for docs/how-to/from-qemu.md. */
export interface DeviceModel {
  /** QEMU's name. */
  readonly name: string
  readonly about: string
  /** What QEMU does that we do not, or do otherwise. */
  readonly differs: string
  /** Its properties besides `id`. */
  readonly parameters: Parameters
  /** Reads its properties; what is returned adds it when everything that it can refer to is known. */
  readonly read: (pairs: readonly OptionPair[], ids: Set<string>) => AddDevice
}

/** What a device is added from. */
export interface Adding<P extends Parameters> {
  readonly subject: Required<Subject>
  readonly given: Given<P>
  readonly id: string | undefined
}

interface ModelText<P extends Parameters> {
  readonly name: string
  readonly about: string
  readonly differs: string
  readonly parameters: P
}

/** A row of the table, its properties typed. */
export function device<const P extends Parameters>(
  model: ModelText<P>,
  add: (board: Board, adding: Adding<P>) => void,
): DeviceModel {
  const { name, parameters } = model
  const subject = { option: '-device', what: `-device ${name}` }
  return {
    ...model,
    read: (pairs, ids) => {
      const [own, rest] = [pairs.filter(({ key }) => key === 'id'), pairs.filter(({ key }) => key !== 'id')]
      const given = readParameters(subject, rest, parameters)
      const { id: ownId } = readParameters(subject, own, { id })
      if (ownId !== undefined && ids.has(ownId)) {
        const remedy = 'Give each its own id=.'
        throw new OptionError(`${subject.what}: there is a device '${ownId}' already`, { option: '-device', remedy })
      }
      if (ownId !== undefined) ids.add(ownId)
      return board => add(board, { subject, given, id: ownId })
    },
  }
}

const ring = 'all devices have split rings of virtio 1'

/** What QEMU lets one choose of every virtio device, and what it is here. */
export const virtioParameters = {
  any_layout: only('on', ring),
  event_idx: only('on', ring),
  indirect_desc: only('on', ring),
  iommu_platform: only('off', 'there is no IOMMU'),
  notify_on_empty: only('on|off', 'it is a feature of devices before virtio 1'),
  packed: only('off', ring),
  queue_reset: only('off', ring),
}
