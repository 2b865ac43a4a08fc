/**
 * Converts the register dump of either program to one form. QEMU prints 32-bit code's registers
 * with 32 bits, and kvm-accel always prints 64 bits.
 */
export const dump = (stderr: string): Readonly<Record<string, string>> => {
  const values: Record<string, string> = {}
  const number = (text: string): string => BigInt(`0x${text}`).toString(16)
  for (const [, name = '', value = ''] of stderr.matchAll(/\b[ER](AX|BX|CX|DX|SI|DI|BP|SP|IP|FL)=([\da-f]+)/gi)) {
    values[name] = number(value)
  }
  for (const [, name = '', ...parts] of stderr.matchAll(/^([CDEFGS]S) =(\w+) (\w+) (\w+) (\w+)/gm)) {
    values[name] = parts.slice(0, 4).map(number).join(' ')
  }
  // QEMU also prints bytes before rip, and more bytes after it.
  values['code'] = /<[\da-f]{2}>(?: [\da-f]{2}){0,14}/.exec(stderr)?.[0] ?? ''
  return values
}
