// Files of fw_cfg.

import { build } from '../../schema/build.js'
import { conflict, invalidValue } from '../../schema/invalid.js'

/**
 * The contents of a file of fw_cfg: bytes, a text without a NUL at its end, or the contents that a
 * file of the host has when the machine is created.
 */
export type FwCfgContent = Uint8Array | { readonly file: string } | { readonly string: string }

/** Files of fw_cfg by their names. */
export type FwCfgFiles = Readonly<Record<string, FwCfgContent>>

/** QEMU's limit is 56 bytes with a NUL. */
const NAME = /^[!-~]{1,55}$/

const contentTakes = 'a Uint8Array, { file } or { string }'

export const fwCfgEntry = build<FwCfgFiles, FwCfgFiles, Record<string, never>>(
  {
    takes: `an object from names of at most 55 printable ASCII characters to ${contentTakes}`,
    read: (value, path) => {
      if (typeof value !== 'object' || value === null) return undefined
      const files = Object.entries(value)
      for (const [name, content] of files) {
        if (!NAME.test(name)) {
          throw conflict(path, `invalid file name '${name}'`, 'Give 1 to 55 printable ASCII characters without spaces.')
        }
        if (!isContent(content)) {
          throw invalidValue(`${path}['${name}']`, content, { takes: contentTakes, defaultText: undefined })
        }
      }
      return value as FwCfgFiles
    },
    write: files => files,
  },
  { default: {}, defaultText: "the machine's own files", cli: '-fw_cfg' },
)

function isContent(content: unknown): boolean {
  if (content instanceof Uint8Array) return true
  if (typeof content !== 'object' || content === null) return false
  const [[kind, value] = [], ...more] = Object.entries(content)
  if (more.length > 0) return false
  if (kind === 'string') return typeof value === 'string'
  return kind === 'file' && typeof value === 'string' && value !== '' && !value.includes('\0')
}
