// The machine's generation, QEMU's `vmgenid` (its docs/specs/vmgenid).

import * as v from 'valibot'
import { MachineConfigError } from '../../errors/machine-config-error.js'

const uuid = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i

/** Shape only. */
export const vmGenerationIdShape = v.union([v.literal('auto'), v.pipe(v.string(), v.regex(uuid))])

/** What the option takes, for messages. */
export const vmGenerationIdTakes = "'auto' or a UUID"

/** In lower case; `null` for none. ACPI tells the guest where it is. */
export function normaliseVmGenerationId(id: string | undefined, acpi: boolean): string | null {
  if (id === undefined) return null
  if (acpi) return id.toLowerCase()
  throw new MachineConfigError('a generation (vmGenerationId) is told by ACPI, which is off', {
    option: 'vmGenerationId',
    remedy: 'Leave one of the two options out.',
  })
}

/** The 16 bytes that a guest reads: the first three fields have their lowest byte first. */
export function generationBytes(id: string): Uint8Array {
  const fields = (id === 'auto' ? crypto.randomUUID() : id).split('-').map(field => Buffer.from(field, 'hex'))
  return Buffer.concat(fields.map((field, index) => (index < 3 ? field.reverse() : field)))
}
