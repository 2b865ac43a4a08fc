import { splitAccelerator } from '../../properties/resolve.js'
import { isHelp } from '../parameters/parameters.js'
import type { RunDraft } from '../draft/run-draft.js'
import type { RunOption } from '../draft/run-option.js'

/** The options of the accelerator. */
export const acceleratorOptions: readonly RunOption[] = [
  {
    name: '-accel',
    argument: 'kvm[,PROPERTY=VALUE…]',
    repeated: 'adds',
    about: 'the accelerator and its properties; the first of several that there is',
    differs: 'Only kvm; other names of QEMU are skipped with a warning when kvm follows. Without -accel: kvm.',
    read: readAccel,
  },
  {
    name: '-enable-kvm',
    repeated: 'no effect',
    about: 'the same as -machine accel=kvm',
    differs: '',
    read: draft => void draft.machine.set('accel', 'kvm'),
  },
]

function readAccel(draft: RunDraft, text: string): string | void {
  if (isHelp(splitAccelerator(text).name)) return 'Accelerators supported by kvm-accel:\nkvm'
  draft.accels.push(text)
}
