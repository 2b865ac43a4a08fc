import type { AccelOptions, AccelProperties } from '../../properties/types.js'
import type { CpuOptions } from './cpu/cpu-options.js'
import type { NormalCpu } from './cpu/cpu.js'
import type { NormalMemory } from './memory.js'
import type { NormalMachineOptions } from './normal-options.js'
import type { MachineOptions, MemoryOptions } from './machine-options.js'
import { explicitConsoles } from './virtio/consoles.js'
import { explicitSerials } from './serial-ports.js'
import { explicitSerial } from './serial.js'
import { formatSize } from '../../schema/size.js'
import { explicitThrottle } from './virtio/throttle.js'

/**
 * The options of a machine with everything said that is a default otherwise: JSON, as long as no option is a stream, a
 * signal or bytes. Their normal form is the one that they were made from.
 */
export function explicitOptions(normal: NormalMachineOptions): MachineOptions {
  const {
    accel,
    memory,
    cpu,
    kernel,
    firmware,
    serials,
    debugConsole,
    append,
    initrd,
    debugExit,
    disks,
    networks,
    rng,
    vsock,
    balloon,
    consoles,
    vmGenerationId,
    name,
    signal,
    ...same
  } = normal
  return {
    ...same,
    accel: accel.candidates.map(accelOptions),
    memory: memoryOptions(memory),
    cpu: cpuOptions(cpu),
    ...(kernel !== null && { kernel, append, initrd }),
    ...(firmware !== null && { firmware }),
    ...(serials.length > 1 || serials[0] === null
      ? { serials: explicitSerials(serials) }
      : { serial: explicitSerial(serials[0]) }),
    ...(debugConsole !== null && { debugConsole: { ...debugConsole, target: explicitSerial(debugConsole.target) } }),
    debugExit: debugExit ?? false,
    disks: disks.map(({ throttle, ...disk }) => ({ ...disk, throttle: explicitThrottle(throttle) })),
    networks: networks.map(({ throttle, ...network }) => ({ ...network, throttle: explicitThrottle(throttle) })),
    rng: rng === null ? false : stated(rng),
    balloon: balloon ?? false,
    ...(vsock !== null && { vsock: stated(vsock) }),
    ...(consoles.length > 0 && { consoles: explicitConsoles(consoles) }),
    ...(vmGenerationId !== null && { vmGenerationId }),
    ...(name !== null && { name }),
    ...(signal !== null && { signal }),
  }
}

type Stated<T> = { readonly [K in keyof T]: Exclude<T[K], null> }

/** Without the members that are null, which stand for what options leave out. */
function stated<T extends object>(value: T): Stated<T> {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== null)) as Stated<T>
}

/** A notify policy that was not asked for is left out: saying it is asking for it. */
function accelOptions({ kvmShadowMem, notifyBudget, notifyAsked, ...rest }: AccelProperties): AccelOptions {
  const { notifyVmexit, notifyWindow, ...others } = rest
  return {
    ...others,
    kvmShadowMem: kvmShadowMem ?? -1,
    notifyBudget: notifyBudget === null ? 'unlimited' : `${notifyBudget.exits}/${notifyBudget.seconds}`,
    ...((notifyAsked || notifyVmexit === 'disable') && { notifyVmexit, notifyWindow }),
  }
}

function memoryOptions({ size, path, hugePages, ...rest }: NormalMemory): MemoryOptions {
  return {
    ...rest,
    size: sizeOption(size),
    hugePages: hugePages === 0 ? false : hugePages === 2 ** 21 ? '2M' : '1G',
    ...(path !== '' && { path }),
  }
}

/** A text without a suffix would count MiB. */
function sizeOption(bytes: number): number | string {
  const text = formatSize(bytes)
  return text === String(bytes) ? bytes : text
}

function cpuOptions({ features, pmu, tscKhz, ...rest }: NormalCpu): CpuOptions {
  return {
    ...rest,
    features: Object.fromEntries(features.map(({ name, on }) => [name, on])),
    ...(pmu !== null && { pmu }),
    ...(tscKhz !== null && { tscFrequency: tscKhz * 1000 }),
  }
}
