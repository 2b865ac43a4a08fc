import { OptionError } from '../../errors/options/option-error.js'
import { id as idOf, number, only, size, type Parameter } from '../parameters/parameters.js'
import { device, type DeviceModel } from './device-model.js'

const guid: Parameter<string> = {
  takes: 'UUID|auto',
  read: value =>
    value === 'auto' || /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i.test(value) ? value.toLowerCase() : undefined,
}

const port = number(0, 0xffff)

/** The I/O ports of COM1 to COM4. */
const comPorts = [0x3f8, 0x2f8, 0x3e8, 0x2e8] as const

/** The devices at fixed ports. */
export const isaDevices: readonly DeviceModel[] = [
  device(
    {
      name: 'isa-serial',
      about: 'the next of COM1 to COM4, or the one that index= or iobase= names',
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
      about: 'a port whose bytes go to a character device; firmware writes there',
      differs: 'One of them. Reads as 0xe9.',
      parameters: { chardev: idOf, iobase: port, readback: only('0xe9|233', 'it reads as 0xe9') },
    },
    (board, { subject, given }) => {
      const target = given.chardev === undefined ? 'null' : board.character(subject, given.chardev)
      board.set(subject, 'debugConsole', { port: given.iobase ?? 0xe9, target })
    },
  ),
  device(
    {
      name: 'isa-debug-exit',
      about: 'a port whose write of V ends the machine with status (V << 1) | 1',
      differs: 'iosize 1 to 8. The last of several wins.',
      parameters: { iobase: number(), iosize: number() },
    },
    (board, { subject: { option }, given }) => {
      const { iobase = 0x501, iosize = 2 } = given
      if (iosize < 1 || iosize > 8 || iobase + iosize > 0x1_0000) {
        const message = `-device isa-debug-exit: ${iosize} ports at 0x${iobase.toString(16)} are not among the 65536 ports, or not 1 to 8`
        throw new OptionError(message, { option, remedy: "For example 'iobase=0xf4,iosize=4'." })
      }
      board.devices.debugExit = { iobase, iosize }
    },
  ),
  device(
    {
      name: 'pvpanic',
      about: 'a port through which a guest reports its panic',
      differs:
        'Always at port 0x505. The event for a crash kernel is not offered: a crash kernel runs, and the host gets no event.',
      parameters: { ioport: only('0x505|1285', 'pvpanic is at port 0x505'), events: only('1|3', 'a panic is told') },
    },
    (board, { subject }) => board.set(subject, 'pvpanic', true),
  ),
  device(
    {
      name: 'vmgenid',
      about: 'a number that changes when the machine is restored from a snapshot',
      differs: 'It changes with the machine, never while one lives; with ACPI alone.',
      parameters: { guid },
    },
    (board, { subject, given }) => board.set(subject, 'vmGenerationId', given.guid ?? 'auto'),
  ),
  device(
    {
      name: 'pc-testdev',
      about: 'what kvm-unit-tests need of a machine',
      differs: '',
      parameters: {},
    },
    board => void (board.devices.testDevices = true),
  ),
  device(
    {
      name: 'pci-testdev',
      about: 'accepted, as kvm-unit-tests give it',
      differs: 'There is no PCI: nothing is there.',
      parameters: { membar: size('B') },
    },
    () => {},
  ),
]
