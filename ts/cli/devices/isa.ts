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
      differs: 'At the four usual places only, with their usual interrupts.',
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
            ? `${what}: all of COM1 to COM4 are taken`
            : wanted < 0
              ? `${what}: there is no COM port at ${given.iobase}`
              : `${what}: COM${wanted + 1} is taken`
        throw new OptionError(message, { option, remedy: 'The ports are index=0 to index=3.' })
      }
      while (serials.length < wanted) serials.push(null)
      serials[wanted] = given.chardev === undefined ? 'null' : board.character(subject, given.chardev)
    },
  ),
  device(
    {
      name: 'isa-debugcon',
      about: optionSentences['MachineOptions.debugConsole'],
      differs: 'One of them. Reads as 0xe9.',
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
        'Always at port 0x505. The event for a crash kernel is not offered: a crash kernel runs, and the host gets no event.',
      parameters: { ioport: only('0x505|1285', 'pvpanic is at port 0x505'), events: only('1|3', 'a panic is told') },
    },
    (board, { subject }) => board.set(subject, 'pvpanic', true),
  ),
  device(
    {
      name: 'vmgenid',
      about: optionSentences['MachineOptions.vmGenerationId'],
      differs: 'It changes with the machine, never while one lives; with ACPI alone.',
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
      about: 'Has no effect: kvm-unit-tests give it, and there is no PCI.',
      differs: 'There is no such device.',
      parameters: { membar: size('B') },
    },
    () => {},
  ),
]
