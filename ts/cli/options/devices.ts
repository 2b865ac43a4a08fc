import { OptionError } from '../../errors/options/option-error.js'
import { didYouMean } from '../../errors/suggest.js'
import { deviceModels } from '../devices/index.js'
import { row } from '../parameters/columns.js'
import { id, isHelp, optionPairs, parametersHelp } from '../parameters/parameters.js'
import type { RunDraft } from '../draft/run-draft.js'
import type { RunOption } from '../draft/run-option.js'

/** The options that add devices. */
export const deviceOptions: readonly RunOption[] = [
  {
    name: '-device',
    argument: 'NAME[,id=ID][,PROPERTY=VALUE…]',
    words: [...deviceModels.map(({ name }) => name), 'help'],
    repeated: 'adds',
    about: 'Adds a device. -device help lists the devices, and -device NAME,help lists the properties of a device.',
    differs:
      'Only the devices of the table below, without bus= and addr=. Virtio devices use virtio-mmio: names such as virtio-blk-pci and virtio-blk are refused.',
    read: readDevice,
  },
]

function readDevice(draft: RunDraft, argument: string): string | void {
  const option = '-device'
  const pairs = optionPairs(option, argument, 'driver')
  const name = pairs.findLast(({ key }) => key === 'driver')?.value ?? ''
  if (isHelp(name)) {
    return ['Devices:', ...deviceModels.map(({ name, about }) => row(name, about))].join('\n')
  }
  const model = deviceModels.find(model => model.name === name)
  if (model === undefined) throw noDevice(option, name)
  const rest = pairs.filter(({ key }) => key !== 'driver')
  if (rest.some(({ key, bare }) => bare && isHelp(key))) {
    return parametersHelp(name, { id, ...model.parameters })
  }
  draft.devices.push(model.read(rest, draft.deviceIds))
}

function noDevice(option: string, name: string): OptionError {
  const names = deviceModels.map(({ name }) => name)
  const ours = name.replace(/(-pci)?(-transitional|-non-transitional)?$/, '-device')
  const remedy = names.includes(ours)
    ? `The board has no PCI: use '-device ${ours}'.`
    : "'-device help' lists the devices."
  return new OptionError(`-device: unknown device '${name}'.${didYouMean(name, names)}`, { option, remedy })
}
