import { OptionError } from '../../errors/options/option-error.js'
import { parseOptionText } from '../../properties/option-text.js'
import { onOff, only, readParameters, text, type Parameter } from '../parameters/parameters.js'
import { optionSentences } from '../parameters/option-sentences.js'
import type { RunDraft } from '../draft/run-draft.js'
import type { RunOption } from '../draft/run-option.js'

/** The options of the boot. */
export const bootOptions: readonly RunOption[] = [
  {
    name: '-kernel',
    argument: 'FILE',
    repeated: 'last wins',
    about: optionSentences['MachineOptions.kernel'],
    differs: 'Required without -bios. A bzImage starts in 64-bit mode, not in its real-mode code.',
    read: (draft, file) => void (draft.kernel = file),
  },
  {
    name: '-initrd',
    argument: 'FILE[ ARGS][,FILE[ ARGS]…]',
    repeated: 'last wins',
    about: optionSentences['MachineOptions.initrd'],
    differs: '',
    read: (draft, file) => void (draft.initrd = file),
  },
  {
    name: '-append',
    argument: 'TEXT',
    repeated: 'last wins',
    about: optionSentences['MachineOptions.append'],
    differs: '',
    read: (draft, text) => void (draft.append = text),
  },
  {
    name: '-bios',
    argument: 'FILE',
    repeated: 'last wins',
    about: optionSentences['MachineOptions.firmware'],
    differs:
      'A name without a slash is also searched in /usr/share/qemu, /usr/share/qemu-firmware and /usr/share/seabios (no -L). UEFI firmware and U-Boot are refused: they need PCI. There is no default firmware.',
    read: (draft, file) => void (draft.firmware = file),
  },
  {
    name: '-fw_cfg',
    argument: '[name=]NAME,file=PATH|string=TEXT',
    repeated: 'adds',
    about: optionSentences['MachineOptions.fwCfg'],
    differs: 'No gen_id=.',
    read: readFwCfg,
  },
  {
    name: '-boot',
    argument: '[order=]c|strict=on|off|menu=off',
    repeated: 'adds',
    about: 'Has no effect: a kernel is booted directly, and firmware boots from disks alone.',
    differs: 'No other order, once=, menu=on, splash= or reboot-timeout=.',
    read: (_, argument) => void readParameters({ option: '-boot' }, parseOptionText(argument, 'order'), bootParameters),
  },
]

const bootParameters = {
  order: only('c', 'disks are the only boot devices'),
  strict: onOff,
  menu: only('off', 'the command line selects what boots'),
}

/** QEMU's limit: 55 characters and a NUL. */
const fwCfgName: Parameter<string> = {
  takes: 'opt/NAME',
  read: name => (/^[\x21-\x7e]{1,55}$/.test(name) ? name : undefined),
}

const fwCfgParameters = {
  name: fwCfgName,
  file: text('PATH'),
  string: { takes: 'TEXT', read: value => value } satisfies Parameter<string>,
}

function readFwCfg(draft: RunDraft, argument: string): void {
  const option = '-fw_cfg'
  const { name, file, string } = readParameters({ option }, parseOptionText(argument, 'name'), fwCfgParameters)
  const remedy = "For example '-fw_cfg name=opt/org.example/greeting,string=hello'."
  if (name === undefined) throw new OptionError('-fw_cfg needs name=', { option, remedy })
  if ((file === undefined) === (string === undefined)) {
    throw new OptionError(`-fw_cfg ${name} needs either file= or string=`, { option, remedy })
  }
  if (draft.fwCfg.has(name)) {
    throw new OptionError(`-fw_cfg: name '${name}' is already in use`, {
      option,
      remedy: 'Give each file its own name.',
    })
  }
  if (!name.startsWith('opt/'))
    draft.notices.push(`-fw_cfg ${name}: the name of a user's file should begin with 'opt/'`)
  draft.fwCfg.set(name, file === undefined ? { string: string ?? '' } : { file })
}
