import { splitAccelerator } from '../../properties/resolve.js'
import { accelMembers } from '../../properties/schema.js'
import { optionSentences } from '../parameters/option-sentences.js'
import { isHelp, parametersHelp } from '../parameters/parameters.js'
import { schemaParameters } from '../parameters/schema-options.js'
import type { RunDraft } from '../draft/run-draft.js'
import type { RunOption } from '../draft/run-option.js'

/** The properties of `-accel kvm`. */
export const accelParameters = schemaParameters('AccelOptions', accelMembers)

/** The options of the accelerator. */
export const acceleratorOptions: readonly RunOption[] = [
  {
    name: '-accel',
    argument: 'kvm[,PROPERTY=VALUE…]',
    words: ['kvm', 'help'],
    repeated: 'adds',
    about: optionSentences['MachineOptions.accel'],
    differs:
      'Only kvm; other names of QEMU are skipped with a warning when kvm follows. Without -accel: kvm. kvm,help lists the properties.',
    read: readAccel,
  },
  {
    name: '-enable-kvm',
    repeated: 'no effect',
    about: 'The same as -machine accel=kvm.',
    differs: '',
    read: draft => void draft.machine.set('accel', 'kvm'),
  },
]

function readAccel(draft: RunDraft, text: string): string | void {
  const { name, properties } = splitAccelerator(text)
  if (isHelp(name)) return 'Accelerators supported by kvm-accel:\nkvm'
  if (name === 'kvm' && properties.some(({ key, bare }) => bare && isHelp(key)))
    return parametersHelp('kvm-accel', accelParameters)
  draft.accels.push(text)
}
