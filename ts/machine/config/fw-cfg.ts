// Files of fw_cfg.

import * as v from 'valibot'

/** What a file of fw_cfg holds: bytes, a text without a NUL at its end, or what a file of the host holds when the machine is made. */
export type FwCfgContent = Uint8Array | { readonly file: string } | { readonly string: string }

/** Files by their names; any that were checked are in normal form. */
export type FwCfgFiles = Readonly<Record<string, FwCfgContent>>

const MAX_NAME = 55

const name = v.pipe(v.string(), v.regex(new RegExp(`^[!-~]{1,${MAX_NAME}}$`)))

/** Everything is checked here but files of the host. */
export const fwCfgShape = v.record(
  name,
  v.union([
    v.instance(Uint8Array),
    v.strictObject({
      file: v.pipe(
        v.string(),
        v.nonEmpty(),
        v.check(path => !path.includes('\0')),
      ),
    }),
    v.strictObject({ string: v.string() }),
  ]),
)

/** What the option takes, for messages. */
export const fwCfgTakes = `an object from names of at most ${MAX_NAME} printable ASCII characters to a Uint8Array, { file } or { string }`
