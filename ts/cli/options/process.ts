import { parseOptionText } from '../../properties/option-text.js'
import { optionSentences } from '../parameters/option-sentences.js'
import { readStats, readTrace } from './read-reports.js'
import { onOff, readParameters, text } from '../parameters/parameters.js'
import type { RunDraft } from '../draft/run-draft.js'
import type { RunOption } from '../draft/run-option.js'
import { versionText } from '../version.js'

/** The options of the process and of its reports. */
export const processOptions: readonly RunOption[] = [
  {
    name: '-no-reboot',
    repeated: 'no effect',
    about: optionSentences['MachineOptions.noReboot'],
    differs: '',
    read: draft => void (draft.noReboot = true),
  },
  {
    name: '-no-shutdown',
    repeated: 'no effect',
    about: optionSentences['MachineOptions.noShutdown'],
    differs: '',
    read: draft => void (draft.noShutdown = true),
  },
  {
    name: '-S',
    repeated: 'no effect',
    about: 'Does not start the vCPUs.',
    differs: 'There is no monitor to start them: the machine waits for a signal that ends it.',
    read: draft => void (draft.paused = true),
  },
  {
    name: '-name',
    argument: 'NAME',
    repeated: 'last wins',
    about: optionSentences['MachineOptions.name'],
    differs: 'No process=. debug-threads= has no effect: threads always have names.',
    read: readName,
  },
  {
    name: '-pidfile',
    argument: 'FILE',
    repeated: 'last wins',
    about: 'Writes the process id to a file, and removes the file at the end.',
    differs:
      'The path must be free or a regular file. The file is removed only if it still holds the id of this process.',
    read: (draft, file) => void (draft.pidfile = file),
  },
  {
    name: '-stats',
    argument: 'SECONDS[,file=PATH]',
    repeated: 'last wins',
    about:
      'Prints exits by kind and the kernel’s statistics at this interval: a table on a terminal, else lines of JSON on stderr.',
    differs: 'Not in QEMU, whose monitor shows the kernel’s statistics.',
    read: readStats,
  },
  {
    name: '-trace',
    argument: '[enable=]PATTERN[,file=PATH][,format=json|chrome]',
    repeated: 'adds',
    about: `${optionSentences['MachineOptions.trace']} Records are lines of JSON on stderr or in a file; -trace help lists the events.`,
    differs:
      'QEMU’s events of accel/kvm, and events of kvm-accel. No events=FILE. format= is not in QEMU. file= is written as text.',
    read: readTrace,
  },
  {
    name: '-config',
    argument: 'FILE',
    repeated: 'last wins',
    about:
      'Reads a whole machine as JSON, as -print-config prints it. Only options of the process are allowed beside it.',
    differs: 'Not in QEMU.',
    read: (draft, file) => void (draft.config = file),
  },
  {
    name: '-print-config',
    repeated: 'no effect',
    about: 'Prints the machine as JSON, with all defaults, instead of running it.',
    differs: 'Not in QEMU.',
    read: draft => void (draft.printConfig = true),
  },
  {
    name: '-version',
    repeated: 'no effect',
    about: 'Prints the version.',
    differs: '',
    read: versionText,
  },
]

const nameParameters = {
  guest: text('NAME'),
  'debug-threads': onOff,
}

function readName(draft: RunDraft, argument: string): void {
  const pairs = parseOptionText(argument, 'guest', Object.keys(nameParameters))
  const { guest } = readParameters({ option: '-name' }, pairs, nameParameters)
  if (guest !== undefined) draft.name = guest
}
