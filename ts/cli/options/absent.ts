import { OptionError } from '../../errors/options/option-error.js'
import type { RunDraft } from '../draft/run-draft.js'
import type { RunOption } from '../draft/run-option.js'

/** Options that kvm-accel accepts only with the argument that turns their feature off. */
export const absentOptions: readonly RunOption[] = [
  {
    name: '-display',
    argument: 'none',
    repeated: 'no effect',
    about: 'Has no effect: there is no display.',
    differs: 'Other values are refused.',
    read: readNone('-display', 'none', 'there is no display'),
  },
  {
    name: '-vnc',
    argument: 'none',
    repeated: 'no effect',
    about: 'Has no effect: there is no display.',
    differs: 'Other values are refused.',
    read: readNone('-vnc', 'none', 'there is no display'),
  },
  ...(
    [
      ['-vga', 'none', 'there is no display'],
      ['-monitor', 'none', 'there is no monitor'],
      ['-parallel', 'none', 'there is no parallel port'],
      ['-nic', 'none', "a network card is '-netdev' with '-device virtio-net-device'"],
      ['-net', 'none', "a network card is '-netdev' with '-device virtio-net-device'"],
      ['-sandbox', 'off', 'system calls are not filtered'],
    ] as const
  ).map(([name, argument, because]): RunOption => ({
    name,
    argument,
    repeated: 'no effect',
    about: `Has no effect: ${because}.`,
    differs: 'Other values are refused.',
    read: readNone(name, argument, because),
  })),
  {
    name: '-nodefaults',
    repeated: 'no effect',
    about: 'Leaves out the default serial port. There are no other default devices.',
    differs: '',
    read: draft => void (draft.nodefaults = true),
  },
  {
    name: '-no-user-config',
    repeated: 'no effect',
    about: 'Has no effect: there are no configuration files.',
    differs: '',
    read: () => {},
  },
]

/** Returns the reader of an option that accepts a single argument, which turns the feature off. */
function readNone(option: string, only: string, because: string): (draft: RunDraft, text: string) => void {
  return (_, text) => {
    if (text === only) return
    throw new OptionError(`${option}: unsupported value '${text}'`, {
      option,
      remedy: `${because[0]?.toUpperCase()}${because.slice(1)}: use '${option} ${only}', or leave it out.`,
    })
  }
}
