// Archives for Linux's initramfs ("newc"). Several may follow each other: of equal names the last
// one counts.

/** A file, or a folder without contents. */
export interface Entry {
  readonly name: string
  /** Absent for a folder. */
  readonly contents?: string | Uint8Array
}

const padded = (bytes: Uint8Array): Buffer => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)])

const record = (name: string, mode: number, contents: Uint8Array, inode: number): Buffer => {
  const title = Buffer.from(`${name}\0`)
  const fields = [inode, mode, 0, 0, 1, 0, contents.length, 0, 0, 0, 0, title.length, 0]
  const header = `070701${fields.map(field => field.toString(16).padStart(8, '0')).join('')}`
  return Buffer.concat([padded(Buffer.concat([Buffer.from(header), title])), padded(contents)])
}

/** Creates one archive. Every file is executable. */
export function cpio(entries: readonly Entry[]): Buffer {
  const records = entries.map(({ name, contents }, index) =>
    record(name, contents === undefined ? 0o40755 : 0o100755, Buffer.from(contents ?? ''), index + 1),
  )
  return Buffer.concat([...records, record('TRAILER!!!', 0, Buffer.alloc(0), 0)])
}
