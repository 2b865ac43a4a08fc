// The machine's generation, QEMU's `vmgenid` (its docs/specs/vmgenid).

import { build } from '../../schema/build.js'
import { conflict } from '../../schema/invalid.js'

const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i

const read = (value: unknown): string | undefined =>
  typeof value === 'string' && (value === 'auto' || UUID.test(value)) ? value.toLowerCase() : undefined

export const vmGenerationIdEntry = build<string, string, null>(
  { takes: "'auto' or a UUID", argument: { takes: 'UUID|auto', read }, read, write: id => id },
  { default: null, cli: '-device vmgenid guid' },
)

/** Checks that `acpi` is on: the guest finds the generation's address in ACPI's tables. */
export function checkVmGenerationId({ vmGenerationId, acpi }: { vmGenerationId: string | null; acpi: boolean }): void {
  if (vmGenerationId === null || acpi) return
  throw conflict('vmGenerationId', 'it needs ACPI, which is off', "Omit 'vmGenerationId', or 'acpi: false'.")
}

/** Returns the 16 bytes that a guest reads. The first three fields are little-endian. */
export function generationBytes(id: string): Uint8Array {
  const fields = (id === 'auto' ? crypto.randomUUID() : id).split('-').map(field => Buffer.from(field, 'hex'))
  return Buffer.concat(fields.map((field, index) => (index < 3 ? field.reverse() : field)))
}
