import { OptionError } from '../../errors/options/option-error.js'
import { parseOptionText } from '../../properties/option-text.js'
import type { Board } from '../draft/board.js'
import type { SerialTarget } from '../../machine/config/serial.js'
import { characterBackends, readCharacter, readShortCharacter } from './character.js'
import { required } from '../parameters/parameters.js'
import { optionSentences } from '../parameters/option-sentences.js'
import type { RunDraft } from '../draft/run-draft.js'
import type { RunOption } from '../draft/run-option.js'
import { addUnique } from '../parameters/unique.js'

/** The options of serial ports and their targets. */
export const characterOptions: readonly RunOption[] = [
  {
    name: '-chardev',
    argument: 'stdio|null|pty|file|socket,id=ID[,path=PATH][,host=HOST,port=PORT][,server=on][,wait=off]',
    words: [...characterBackends, 'help'],
    repeated: 'adds',
    about: 'A target for a serial port, a console or a channel.',
    differs:
      'No other back end, logfile=, reconnect=, telnet=, websocket= or TLS. A file is truncated (no append=on). mux=on is accepted, but only one device can use the target.',
    read: readChardev,
  },
  {
    name: '-serial',
    argument: 'stdio|null|none|pty|file:PATH|unix:PATH|tcp:HOST:PORT|chardev:ID',
    words: ['stdio', 'null', 'none', 'pty'],
    repeated: 'adds',
    about: optionSentences['MachineOptions.serials'],
    differs:
      'No other back ends. mon:stdio is stdio, because there is no monitor. Has no effect with -M isa-serial=off. Without -serial and -nographic the target is null.',
    read: (draft, text) => void draft.serials.push(text),
  },
  {
    name: '-debugcon',
    argument: 'stdio|null|pty|file:PATH|unix:PATH|tcp:HOST:PORT|chardev:ID',
    words: ['stdio', 'null', 'pty'],
    repeated: 'refused',
    about: 'The same as -device isa-debugcon,iobase=0xe9 with that target.',
    differs: '',
    read: (draft, text) => {
      draft.devices.push(board => {
        const target = namedCharacter(draft, board, '-debugcon', text)
        board.set({ option: '-debugcon' }, 'debugConsole', { port: 0xe9, target })
      })
    },
  },
  {
    name: '-nographic',
    repeated: 'no effect',
    about: 'Connects COM1 to stdio, unless -serial or -nodefaults is given.',
    differs: 'No monitor on the same terminal: Ctrl-A c prints the keys.',
    read: draft => void (draft.nographic = true),
  },
]

function readChardev(draft: RunDraft, argument: string): string | void {
  const character = readCharacter(parseOptionText(argument, 'backend', ['server', 'wait', 'nodelay']))
  if (typeof character === 'string') return character
  claimStdio(draft, '-chardev', character.target)
  const id = required({ option: '-chardev' }, 'id', character.id, '-chardev stdio,id=console0')
  addUnique('-chardev', draft.characters, id, character.target)
}

/** Claims standard input and output for one option. A second option that uses them is an error. */
function claimStdio(draft: RunDraft, option: string, target: SerialTarget): void {
  if (target !== 'stdio') return
  if (draft.stdio !== undefined) {
    const message = `${option}: stdio is in use by ${draft.stdio}`
    throw new OptionError(message, {
      option,
      remedy: 'Connect the other devices to null, a file or a socket.',
    })
  }
  draft.stdio = option
}

function namedCharacter(draft: RunDraft, board: Board, option: string, text: string): SerialTarget {
  const [, id] = /^chardev:(.*)$/.exec(text) ?? []
  if (id !== undefined) return board.character({ option }, id)
  const target = readShortCharacter(option, text)
  claimStdio(draft, option, target)
  return target
}

/**
 * Adds COM1 to COM4 of `-serial`. Runs before devices take the remaining ports. As in QEMU,
 * `isa-serial=off` leaves out the ports, and their back ends are created all the same.
 */
export function addSerialPorts(draft: RunDraft, board: Board): void {
  const { serials, nographic, nodefaults } = draft
  if (serials.length > 4) {
    throw new OptionError(`-serial is given ${serials.length} times: a machine has COM1 to COM4`, {
      option: '-serial',
      remedy: "For more ports use '-device virtio-serial-device' with '-device virtserialport'.",
    })
  }
  const ports = serials.map(text => (text === 'none' ? null : namedCharacter(draft, board, '-serial', text)))
  if (draft.machine.get('isa-serial') === 'off') return
  board.devices.serials.push(...ports)
  if (serials.length === 0 && nographic && !nodefaults) {
    claimStdio(draft, '-nographic', 'stdio')
    board.devices.serials.push('stdio')
  }
}
