// Converts the normal form of a machine's options to the JSON that the addon reads: a
// `MachineConfig` of crates/vmm.

import type { NormalFwCfgContent } from '../config/fw-cfg.js'
import type { NormalMsrRule } from '../config/cpu/msr-filter.js'
import type { NormalMachineOptions } from '../config/normal-options.js'
import { rtcOffset } from '../config/rtc.js'
import type { Serial } from '../config/serial.js'
import type { NetworkBackend } from '../config/virtio/networks.js'
import type { AccelProperties } from '../../properties/schema.js'
import type { Staged, StagedBytes } from '../../native/staged-bytes.js'

/**
 * Returns the addon's form of a machine with these accelerator properties. Rust refuses unknown and
 * missing fields, so the fields of the normal form keep their names. Only values that JSON or
 * native code cannot represent are converted here.
 */
export function toNative(options: NormalMachineOptions, accel: AccelProperties, staged: StagedBytes): string {
  const { signal: _, ...same } = options
  const { kernel, firmware, initrd, serials, debugConsole, rtc, fwCfg, vmGenerationId, consoles } = options
  return JSON.stringify({
    ...same,
    accel,
    kernel: kernel && source(kernel, staged),
    firmware: firmware && source(firmware, staged),
    initrd: initrd.map(({ image, cmdline }) => ({ image: source(image, staged), cmdline })),
    msrFilter: options.msrFilter.map(msrRule),
    serials: serials.map(serial => serial && target(serial)),
    debugConsole: debugConsole && { port: debugConsole.port, target: target(debugConsole.target) },
    rtc: { offset: rtcOffset(rtc, new Date()), clock: rtc.clock },
    fwCfg: Object.fromEntries(Object.entries(fwCfg).map(([name, content]) => [name, file(content, staged)])),
    vmGenerationId: vmGenerationId === 'auto' ? crypto.randomUUID() : vmGenerationId,
    networks: options.networks.map(network => ({ ...network, backend: backend(network.backend) })),
    consoles: consoles.map(({ name, ...port }) => ({ name, target: target(port.target) })),
  })
}

const source = (image: string | Uint8Array, staged: StagedBytes): Staged | { path: string } =>
  typeof image === 'string' ? { path: image } : staged.copy(image)

const file = (content: NormalFwCfgContent, staged: StagedBytes) =>
  content instanceof Uint8Array ? staged.copy(content) : content

/**
 * Functions stay in JavaScript: `ask` makes the addon call them. Values are texts, because JSON
 * numbers are inexact.
 */
const msrRule = ({ index, count, read, write }: NormalMsrRule) => ({
  index,
  count,
  read: typeof read === 'function' ? 'ask' : String(read),
  write: typeof write === 'function' ? 'ask' : write,
})

/** Native code sees a stream in place of a socket, a terminal or a stream of Node.js. */
const target = (serial: Serial) => {
  switch (serial.kind) {
    case 'writable':
    case 'socket':
    case 'pty':
      return { kind: 'stream' }
    default:
      return serial
  }
}

const backend = (network: NetworkBackend) => {
  if ('stream' in network) return network
  if ('tap' in network) {
    const { tap } = network
    return { tap: typeof tap === 'string' ? { name: tap, create: false } : { name: tap.create, create: true } }
  }
  const { forwards = [] } = network.user === true ? {} : network.user
  return { user: { forwards: forwards.map(forward => ({ protocol: 'tcp', ...forward })) } }
}
