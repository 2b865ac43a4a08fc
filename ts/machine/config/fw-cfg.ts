// Files of fw_cfg.

import { build } from '../../schema/build.js'
import { conflict, invalidValue, unknownMember } from '../../schema/invalid.js'
import { path as pathEntry } from '../../schema/scalars.js'

/**
 * The contents of a file of fw_cfg: bytes, a text without a NUL at its end, or the contents that a
 * file of the host has when the machine is created.
 */
export type FwCfgContent = Uint8Array | { readonly file: string | URL } | { readonly string: string }

/** Files of fw_cfg by their names. */
export type FwCfgFiles = Readonly<Record<string, FwCfgContent>>

/** {@link FwCfgContent} in normal form. */
export type NormalFwCfgContent = Uint8Array | { readonly file: string } | { readonly string: string }

/** QEMU's limit is 56 bytes with a NUL. */
const NAME = /^[!-~]{1,55}$/

const filePath = pathEntry()

const contentTakes = 'a Uint8Array, { file } or { string }'

export const fwCfgEntry = build<FwCfgFiles, Readonly<Record<string, NormalFwCfgContent>>, Record<string, never>>(
  {
    takes: `an object from names of at most 55 printable ASCII characters to ${contentTakes}`,
    read: (value, path) => {
      if (typeof value !== 'object' || value === null) return undefined
      const files = Object.entries(value).map(([name, content]: [string, unknown]) => {
        if (!NAME.test(name)) {
          throw conflict(path, `invalid file name '${name}'`, 'Give 1 to 55 printable ASCII characters without spaces.')
        }
        const normal = readContent(content, `${path}['${name}']`)
        if (normal === undefined) {
          throw invalidValue(`${path}['${name}']`, content, { takes: contentTakes, defaultText: undefined })
        }
        return [name, normal] as const
      })
      return Object.fromEntries(files)
    },
    write: files => files,
  },
  { default: {}, defaultText: "the machine's own files", cli: '-fw_cfg' },
)

function readContent(content: unknown, path: string): NormalFwCfgContent | undefined {
  if (content instanceof Uint8Array) return content
  if (typeof content !== 'object' || content === null || Array.isArray(content)) return undefined
  const unknown = Object.keys(content).find(key => key !== 'file' && key !== 'string')
  if (unknown !== undefined) throw unknownMember(path, unknown, ['file', 'string'])
  if ('file' in content && !('string' in content)) return { file: filePath.read(content.file, `${path}.file`) }
  return 'string' in content && !('file' in content) && typeof content.string === 'string'
    ? { string: content.string }
    : undefined
}
