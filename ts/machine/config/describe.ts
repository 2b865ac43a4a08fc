// A machine in a few lines, for inspect().

import { inspect, type InspectOptions } from 'node:util'
import { formatSize } from '../../schema/size.js'
import type { NormalMachineOptions } from './normal-options.js'
import type { Serial } from './serial.js'

/** Returns the text that `inspect()` shows of a machine. `devices` are those in JavaScript. */
export function describeMachine(
  {
    state,
    options,
    devices,
  }: { readonly state: string; readonly options: NormalMachineOptions; readonly devices: readonly string[] },
  format: InspectOptions,
): string {
  const { name, cpus, memory } = options
  const shown = {
    ...(name === null ? {} : { name }),
    state,
    vcpus: cpus,
    memory: formatSize(memory.size),
    devices: [...describeDevices(options), ...devices.map(device => `JavaScript: ${device}`)],
  }
  return `Machine ${inspect(shown, format)}`
}

/** Returns a word or two for each device that the options add. */
function describeDevices(options: NormalMachineOptions): readonly string[] {
  const { serials, debugConsole, disks, networks, consoles, rng, balloon, vsock } = options
  return [
    ...serials.flatMap((target, index) => (target === null ? [] : [`COM${index + 1}: ${targetText(target)}`])),
    ...(debugConsole === null ? [] : [`debug console: ${targetText(debugConsole.target)}`]),
    ...disks.map(({ path }) => `disk: ${path}`),
    ...networks.map(({ backend }) => `network: ${Object.keys(backend)[0]}`),
    ...consoles.map(({ name, target }) => `console${name === null ? '' : ` ${name}`}: ${targetText(target)}`),
    ...(vsock === null ? [] : [`vsock: CID ${vsock.cid}`]),
    ...(rng === null ? [] : ['rng']),
    ...(balloon === null ? [] : ['balloon']),
  ]
}

const targetText = (target: Serial): string => (target.kind === 'file' ? target.path : target.kind)
