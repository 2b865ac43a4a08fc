import { OptionError } from '../../errors/options/option-error.js'
import { debugExitMembers, type DebugExitOptions } from '../../machine/config/board.js'
import { debugConsoleMembers, type DebugConsoleOptions } from '../../machine/config/serial-ports.js'
import { vmGenerationIdEntry } from '../../machine/config/vm-generation.js'
import { id as idOf, number, only, size, type Parameter } from '../parameters/parameters.js'
import { optionSentences } from '../parameters/option-sentences.js'
import { schemaOptions, schemaParameters } from '../parameters/schema-options.js'
import { device, type DeviceModel } from './device-model.js'

const guid = vmGenerationIdEntry.argument as Parameter<string>
const port = number(0, 0xffff)

/** The I/O ports of COM1 to COM4. */
const comPorts = [0x3f8, 0x2f8, 0x3e8, 0x2e8] as const

/** The devices at fixed ports. */
export const isaDevices: readonly DeviceModel[] = [
  device(
    {
      name: 'isa-serial',
      about: 'A serial port: the next of COM1 to COM4, or the port that index= or iobase= names.',
      differs: 'Only at the ports of COM1 to COM4, with their interrupt lines.',
      parameters: { chardev: idOf, index: number(0, 3), iobase: port },
    },
    (board, { subject, given }) => {
      const { option, what } = subject
      const { serials } = board.devices
      const free = [0, 1, 2, 3].find(index => serials[index] === undefined)
      const wanted =
        given.index ?? (given.iobase === undefined ? free : comPorts.findIndex(base => base === given.iobase))
      if (wanted === undefined || wanted < 0 || (serials[wanted] ?? null) !== null) {
        const message =
          wanted === undefined
            ? `${what}: COM1 to COM4 are already in use`
            : wanted < 0
              ? `${what}: invalid iobase=${given.iobase}: expected 0x3f8, 0x2f8, 0x3e8 or 0x2e8`
              : `${what}: COM${wanted + 1} is already in use`
        throw new OptionError(message, { option, remedy: 'Choose a free port with index=0 to index=3.' })
      }
      while (serials.length < wanted) serials.push(null)
      serials[wanted] = given.chardev === undefined ? 'null' : board.character(subject, given.chardev)
    },
  ),
  device(
    {
      name: 'isa-debugcon',
      about: optionSentences['MachineOptions.debugConsole'],
      differs: 'At most one. Reads as 0xe9.',
      parameters: {
        chardev: idOf,
        ...schemaParameters('DebugConsoleOptions', debugConsoleMembers),
        readback: only('0xe9|233', 'it reads as 0xe9'),
      },
    },
    (board, { subject, given }) => {
      const target = given.chardev === undefined ? 'null' : board.character(subject, given.chardev)
      board.set(subject, 'debugConsole', {
        ...schemaOptions<DebugConsoleOptions>(debugConsoleMembers, given),
        target,
      })
    },
  ),
  device(
    {
      name: 'isa-debug-exit',
      about: optionSentences['MachineOptions.debugExit'],
      differs: 'iosize 1 to 8. The last of several wins.',
      parameters: schemaParameters('DebugExitOptions', debugExitMembers),
    },
    (board, { given }) => {
      board.devices.debugExit = schemaOptions<DebugExitOptions>(debugExitMembers, given)
    },
  ),
  device(
    {
      name: 'pvpanic',
      about: optionSentences['MachineOptions.pvpanic'],
      differs:
        'Always at port 0x505. Without the event for a loaded crash kernel: that kernel runs, and the host gets no event.',
      parameters: {
        ioport: only('0x505|1285', 'pvpanic is at port 0x505'),
        events: only('1|3', 'the guest can report a panic'),
      },
    },
    (board, { subject }) => board.set(subject, 'pvpanic', true),
  ),
  device(
    {
      name: 'vmgenid',
      about: optionSentences['MachineOptions.vmGenerationId'],
      differs: 'Never changes while a machine runs. Needs ACPI.',
      parameters: { guid: { ...guid, about: optionSentences['MachineOptions.vmGenerationId'] } },
    },
    (board, { subject, given }) => board.set(subject, 'vmGenerationId', given.guid ?? 'auto'),
  ),
  device(
    {
      name: 'pc-testdev',
      about: optionSentences['MachineOptions.testDevices'],
      differs: '',
      parameters: {},
    },
    board => void (board.devices.testDevices = true),
  ),
  device(
    {
      name: 'pci-testdev',
      about: 'Has no effect. Accepted because the runner of kvm-unit-tests passes it.',
      differs: 'The board has no PCI, so the device is absent.',
      parameters: { membar: size('B') },
    },
    () => {},
  ),
]
