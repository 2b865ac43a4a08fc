import { runHelp } from './help.js'
import { absentOptions } from '../options/absent.js'
import { acceleratorOptions } from '../options/accelerator.js'
import { boardOptions } from '../options/board.js'
import { bootOptions } from '../options/boot.js'
import { characterOptions } from '../options/characters.js'
import { deviceOptions } from '../options/devices.js'
import { memoryOptions } from '../options/memory.js'
import { networkOptions } from '../options/network.js'
import { objectOptions } from '../options/objects.js'
import { processOptions } from '../options/process.js'
import { processorOptions } from '../options/processors.js'
import { storageOptions } from '../options/storage.js'
import type { RunOption } from '../draft/run-option.js'

export type { RunOption }

/**
 * All options, in the order of help. The parser, help and docs/reference/command-line.md use this
 * table.
 */
export const runOptions: readonly RunOption[] = [
  ...acceleratorOptions,
  ...boardOptions,
  ...processorOptions,
  ...memoryOptions,
  ...bootOptions,
  ...deviceOptions,
  ...storageOptions,
  ...networkOptions,
  ...objectOptions,
  ...characterOptions,
  ...absentOptions,
  ...processOptions,
  {
    name: '-help',
    aliases: ['-h'],
    repeated: 'no effect',
    about: 'Prints this text.',
    differs: '',
    read: () => runHelp(runOptions),
  },
]
