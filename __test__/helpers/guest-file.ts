import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { guestImage } from 'kvm-accel'
import { scratch } from './paths.js'

/** Returns an embedded guest as a file, for command lines. */
export const guestFile = (name: string, format: 'pvh' | 'multiboot' = 'pvh'): string => {
  const path = join(scratch(), `${name}.${format}.elf`)
  writeFileSync(path, guestImage(name, { format }))
  return path
}
