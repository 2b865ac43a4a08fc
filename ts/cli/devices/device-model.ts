import { OptionError } from '../../errors/options/option-error.js'
import type { OptionPair } from '../../properties/option-text.js'
import type { AddDevice, Board } from '../draft/board.js'
import { id, only, readParameters, type Given, type Parameters, type Subject } from '../parameters/parameters.js'

/**
 * A device of `-device`. The parser, `-device help` and docs/how-to/from-qemu.md use this
 * description.
 */
export interface DeviceModel {
  /** QEMU's name. */
  readonly name: string
  readonly about: string
  /** Differences from QEMU. */
  readonly differs: string
  /** The properties besides `id`. */
  readonly parameters: Parameters
  /**
   * Reads the properties. Returns a function that adds the device, for a call after all ids are
   * known.
   */
  readonly read: (pairs: readonly OptionPair[], ids: Set<string>) => AddDevice
}

/** The input for adding a device. */
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

/** Creates a device model with typed properties. */
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
        const remedy = 'Choose another id=.'
        throw new OptionError(`${subject.what}: device id '${ownId}' is already in use`, { option: '-device', remedy })
      }
      if (ownId !== undefined) ids.add(ownId)
      return board => add(board, { subject, given: { ...(board.globals(name) as Given<P>), ...given }, id: ownId })
    },
  }
}

const ring = 'all devices have split rings of virtio 1'

/** QEMU's properties of every virtio device, and the fixed values that they have here. */
export const virtioParameters = {
  any_layout: only('on', ring),
  event_idx: only('on', ring),
  indirect_desc: only('on', ring),
  iommu_platform: only('off', 'there is no IOMMU'),
  notify_on_empty: only('on|off', 'it is a feature of devices before virtio 1'),
  packed: only('off', ring),
  queue_reset: only('off', ring),
}
