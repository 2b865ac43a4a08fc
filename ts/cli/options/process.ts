import { parseOptionText } from '../../properties/option-text.js'
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
    about: "a guest's reset ends the machine, with status 0",
    differs: '',
    read: draft => void (draft.noReboot = true),
  },
  {
    name: '-no-shutdown',
    repeated: 'no effect',
    about: 'stay when the guest has shut down or failed, until a signal',
    differs: '',
    read: draft => void (draft.noShutdown = true),
  },
  {
    name: '-S',
    repeated: 'no effect',
    about: 'do not start the vCPUs',
    differs: 'There is no monitor that could start them: the machine waits for a signal.',
    read: draft => void (draft.paused = true),
  },
  {
    name: '-name',
    argument: 'NAME',
    repeated: 'last wins',
    about: 'a name for messages',
    differs: 'No process=. Threads have names whatever debug-threads= says.',
    read: readName,
  },
  {
    name: '-pidfile',
    argument: 'FILE',
    repeated: 'last wins',
    about: 'write the process id there, and remove the file at the end',
    differs: 'Refused where something other than a file is; removed only while it holds our own id.',
    read: (draft, file) => void (draft.pidfile = file),
  },
  {
    name: '-stats',
    argument: 'SECONDS[,file=PATH]',
    repeated: 'last wins',
    about:
      'exits by kind and the kernel’s statistics every so often: a table on a terminal, else lines of JSON on stderr',
    differs: 'Ours; QEMU shows the kernel’s statistics in its monitor.',
    read: readStats,
  },
  {
    name: '-trace',
    argument: '[enable=]PATTERN[,file=PATH][,format=json|chrome]',
    repeated: 'adds',
    about: 'record events whose names match the glob, as lines of JSON on stderr, or into a file; help lists them',
    differs: 'Of QEMU’s events those of accel/kvm, and ours. No events=FILE; format= is ours, and file= takes text.',
    read: readTrace,
  },
  {
    name: '-config',
    argument: 'FILE',
    repeated: 'last wins',
    about: 'a whole machine as JSON, as -print-config prints it; beside it only options of the process',
    differs: 'Ours.',
    read: (draft, file) => void (draft.config = file),
  },
  {
    name: '-print-config',
    repeated: 'no effect',
    about: 'print the machine as JSON, defaults and all, instead of running it',
    differs: 'Ours.',
    read: draft => void (draft.printConfig = true),
  },
  {
    name: '-version',
    repeated: 'no effect',
    about: 'print the version',
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
