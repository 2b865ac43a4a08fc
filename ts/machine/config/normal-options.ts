import * as v from 'valibot'
import { MachineConfigError } from '../../errors/machine-config-error.js'
import { didYouMean, either } from '../../errors/suggest.js'
import { resolveAccelerators, type ResolvedAccelerators } from '../../properties/resolve.js'
import {
  MAX_CPUS,
  cpuShape,
  cpuTakes,
  normaliseCpu,
  normaliseTopology,
  topologyShape,
  topologyTakes,
  type NormalCpu,
} from './cpu/cpu.js'
import type { TopologyOptions } from './cpu/cpu-options.js'
import { msrFilterShape, msrFilterTakes, normaliseMsrFilter, type NormalMsrRule } from './cpu/msr-filter.js'
import { balloonShape, balloonTakes, normaliseBalloon, type NormalBalloon } from './virtio/balloon.js'
import { disksShape, disksTakes, normaliseDisks, type NormalDisk } from './virtio/disks.js'
import { fwCfgShape, fwCfgTakes, type FwCfgFiles } from './fw-cfg.js'
import { networksShape, networksTakes, normaliseNetworks, type NormalNetwork } from './virtio/networks.js'
import { normaliseRng, rngShape, rngTakes, type NormalRng } from './virtio/rng.js'
import { normaliseVmGenerationId, vmGenerationIdShape, vmGenerationIdTakes } from './vm-generation.js'
import { consolesShape, consolesTakes, normaliseConsoles, type NormalConsole } from './virtio/consoles.js'
import { normaliseVsock, vsockShape, vsockTakes, type NormalVsock } from './virtio/vsock.js'
import { memoryShape, memoryTakes, normaliseMemory, type NormalMemory } from './memory.js'
import { matchesNothing } from '../../trace/glob.js'
import { normaliseRtc, rtcShape, rtcTakes, type NormalRtc } from './rtc.js'
import {
  debugConsoleShape,
  debugConsoleTakes,
  normaliseDebugConsole,
  normaliseSerials,
  serialsShape,
  serialsTakes,
  type NormalDebugConsole,
} from './serial-ports.js'
import { serialShape, serialTakes, type Serial } from './serial.js'
import type { InitrdImage, KernelFormat, LostTickPolicy, MachineOptions } from './machine-options.js'

const LAST_PORT = 0xffff

/** {@link MachineOptions} in normal form: everything set, everything checked that needs no host. */
export interface NormalMachineOptions {
  readonly accel: ResolvedAccelerators
  readonly memory: NormalMemory
  readonly cpus: number
  readonly topology: Required<TopologyOptions>
  readonly cpu: NormalCpu
  readonly cpuPm: boolean
  readonly msrFilter: readonly NormalMsrRule[]
  readonly busLockRatelimit: number
  readonly kernel: string | Uint8Array | null
  readonly firmware: string | Uint8Array | null
  readonly kernelFormat: KernelFormat
  readonly initrd: readonly Required<InitrdImage>[]
  readonly append: string
  readonly autoKernelCmdline: boolean
  readonly serials: readonly [Serial | null, ...(Serial | null)[]]
  readonly debugConsole: NormalDebugConsole | null
  readonly pic: boolean
  readonly pit: boolean
  readonly rtc: NormalRtc
  readonly debugExit: { readonly iobase: number; readonly iosize: number } | null
  readonly fwCfg: FwCfgFiles
  readonly testDevices: boolean
  readonly pvpanic: boolean
  readonly vmGenerationId: string | null
  readonly acpi: boolean
  readonly lostTickPolicy: LostTickPolicy
  readonly disks: readonly NormalDisk[]
  readonly networks: readonly NormalNetwork[]
  readonly rng: NormalRng | null
  readonly vsock: NormalVsock | null
  readonly balloon: NormalBalloon | null
  readonly consoles: readonly NormalConsole[]
  readonly noReboot: boolean
  readonly noShutdown: boolean
  readonly trace: readonly string[]
  readonly signal: AbortSignal | null
  readonly name: string | null
}

const formats = ['auto', 'flat', 'linux', 'multiboot', 'pvh'] as const satisfies readonly KernelFormat[]

const lostTickPolicies = ['delay', 'discard'] as const satisfies readonly LostTickPolicy[]

const image = v.union([v.pipe(v.string(), v.nonEmpty()), v.instance(Uint8Array)])
/** Strings that end up behind a pointer in guest memory or in a path: a NUL would cut them short. */
const text = v.pipe(
  v.string(),
  v.check(value => !value.includes('\0')),
)

/** Shape only; numbers are checked below, with their rules in the message. */
const shape = {
  accel: v.any(),
  memory: memoryShape,
  cpus: v.number(),
  cpu: cpuShape,
  topology: topologyShape,
  cpuPm: v.boolean(),
  msrFilter: msrFilterShape,
  busLockRatelimit: v.number(),
  kernel: image,
  firmware: image,
  kernelFormat: v.picklist(formats),
  initrd: v.union([image, v.array(v.strictObject({ image, cmdline: v.optional(text) }))]),
  append: text,
  autoKernelCmdline: v.boolean(),
  serial: serialShape,
  serials: serialsShape,
  debugConsole: debugConsoleShape,
  pic: v.boolean(),
  pit: v.boolean(),
  rtc: rtcShape,
  debugExit: v.union([v.boolean(), v.strictObject({ iobase: v.optional(v.number()), iosize: v.optional(v.number()) })]),
  fwCfg: fwCfgShape,
  testDevices: v.boolean(),
  pvpanic: v.boolean(),
  vmGenerationId: vmGenerationIdShape,
  acpi: v.boolean(),
  lostTickPolicy: v.picklist(lostTickPolicies),
  disks: disksShape,
  networks: networksShape,
  rng: rngShape,
  vsock: vsockShape,
  balloon: balloonShape,
  consoles: consolesShape,
  noReboot: v.boolean(),
  noShutdown: v.boolean(),
  trace: v.union([v.string(), v.array(v.string())]),
  signal: v.instance(AbortSignal),
  name: text,
} satisfies Record<keyof MachineOptions, unknown>

/** What each option takes, for messages. */
const takes: Record<keyof MachineOptions, string> = {
  accel: "an accelerator such as 'kvm,notify-vmexit=run', an object of its properties, or a list of either",
  memory: memoryTakes,
  cpus: `a whole number from 1 to ${MAX_CPUS}`,
  cpu: cpuTakes,
  topology: topologyTakes,
  cpuPm: 'a boolean',
  msrFilter: msrFilterTakes,
  busLockRatelimit: 'a whole number from 0 to 2^53 - 1',
  kernel: 'the path of a file, or its bytes as a Uint8Array',
  firmware: 'the path of a file, or its bytes as a Uint8Array',
  kernelFormat: either(formats.map(format => `'${format}'`)),
  initrd: 'the path of a file, its bytes as a Uint8Array, or a list of { image, cmdline } for multiboot modules',
  append: 'a text without NUL',
  autoKernelCmdline: 'a boolean',
  serial: serialTakes,
  serials: serialsTakes,
  debugConsole: debugConsoleTakes,
  pic: 'a boolean',
  pit: 'a boolean',
  rtc: rtcTakes,
  debugExit: `a boolean, or { iobase, iosize } with iobase from 0 to ${LAST_PORT} and iosize from 1 to 8`,
  fwCfg: fwCfgTakes,
  testDevices: 'a boolean',
  pvpanic: 'a boolean',
  vmGenerationId: vmGenerationIdTakes,
  acpi: 'a boolean',
  lostTickPolicy: either(lostTickPolicies.map(policy => `'${policy}'`)),
  disks: disksTakes,
  networks: networksTakes,
  rng: rngTakes,
  vsock: vsockTakes,
  balloon: balloonTakes,
  consoles: consolesTakes,
  noReboot: 'a boolean',
  noShutdown: 'a boolean',
  trace: "a glob of trace events such as 'kvm_*', or a list of them",
  signal: 'an AbortSignal',
  name: 'a text without NUL',
}

/**
 * Checks a machine's options and fills in the defaults.
 *
 * @throws {@link MachineConfigError} naming the option; what `accel` throws, see {@link resolveAccelerators}.
 */
export function normaliseMachineOptions(options: MachineOptions): NormalMachineOptions {
  if (typeof options !== 'object' || options === null) {
    const remedy = "For example Machine.create({ kernel: 'vmlinux' })."
    throw new MachineConfigError('the options of a machine are an object', { option: '', remedy })
  }
  for (const [key, value] of Object.entries(options)) checkShape(key, value)
  refuseOrphans(options)
  return Object.freeze({
    accel: resolveAccelerators(options.accel),
    memory: normaliseMemory(options.memory ?? '128M'),
    ...normaliseTopology(cpuCount(options.cpus), options.topology),
    cpu: normaliseCpu(options.cpu ?? 'host'),
    cpuPm: options.cpuPm ?? false,
    msrFilter: normaliseMsrFilter(options.msrFilter ?? []),
    busLockRatelimit: busLocks(options.busLockRatelimit ?? 0),
    kernel: options.kernel ?? null,
    firmware: options.firmware ?? null,
    kernelFormat: options.kernelFormat ?? 'auto',
    initrd: initrdList(options.initrd),
    append: options.append ?? '',
    autoKernelCmdline: options.autoKernelCmdline ?? true,
    serials: normaliseSerials(options.serial ?? 'null', options.serials),
    debugConsole: options.debugConsole === undefined ? null : normaliseDebugConsole(options.debugConsole),
    pic: options.pic ?? true,
    pit: options.pit ?? true,
    rtc: normaliseRtc(options.rtc ?? {}),
    debugExit: debugExitPorts(options.debugExit ?? false),
    fwCfg: options.fwCfg ?? {},
    testDevices: options.testDevices ?? false,
    pvpanic: options.pvpanic ?? false,
    vmGenerationId: normaliseVmGenerationId(options.vmGenerationId, options.acpi ?? true),
    acpi: options.acpi ?? true,
    lostTickPolicy: options.lostTickPolicy ?? 'delay',
    disks: normaliseDisks(options.disks ?? []),
    networks: normaliseNetworks(options.networks ?? []),
    rng: normaliseRng(options.rng ?? false),
    vsock: normaliseVsock(options.vsock),
    balloon: normaliseBalloon(options.balloon ?? false),
    consoles: normaliseConsoles(options.consoles ?? []),
    noReboot: options.noReboot ?? false,
    noShutdown: options.noShutdown ?? false,
    trace: traceGlobs(options.trace ?? []),
    signal: options.signal ?? null,
    name: options.name ?? null,
  })
}

/** What goes with something that is missing, or in place of something that is there. */
function refuseOrphans({ kernel, firmware, append, initrd, serial, serials }: MachineOptions): void {
  if (kernel === undefined) {
    if (firmware === undefined) throw bad('kernel', 'is missing, and so is firmware to start without one')
    if (append !== undefined) throw bad('append', 'is given without a kernel to read it')
    if (initrd !== undefined) throw bad('initrd', 'is given without a kernel to take it')
  }
  if (serial !== undefined && serials !== undefined)
    throw bad('serials', "is given beside 'serial', which is its first")
}

function checkShape(key: string, value: unknown): void {
  if (!isOption(key)) {
    const keys = Object.keys(shape)
    const message = `there is no machine option '${key}'.${didYouMean(key, keys)}`
    throw new MachineConfigError(message, { option: key, remedy: `The options are ${keys.join(', ')}.` })
  }
  if (value !== undefined && !v.is(shape[key], value)) throw bad(key, `is ${describe(value)}`)
}

function busLocks(perSecond: number): number {
  if (!Number.isSafeInteger(perSecond) || perSecond < 0) throw bad('busLockRatelimit', `is ${perSecond}`)
  return perSecond
}

function cpuCount(cpus: number | undefined): number | undefined {
  if (cpus === undefined) return undefined
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > MAX_CPUS) throw bad('cpus', `is ${cpus}`)
  return cpus
}

function initrdList(initrd: MachineOptions['initrd']): readonly Required<InitrdImage>[] {
  if (initrd === undefined) return []
  const list: readonly InitrdImage[] = isBytesOrPath(initrd) ? [{ image: initrd }] : initrd
  return list.map(({ image, cmdline }) => ({ image, cmdline: cmdline ?? (typeof image === 'string' ? image : '') }))
}

function isBytesOrPath(value: string | Uint8Array | readonly InitrdImage[]): value is string | Uint8Array {
  return typeof value === 'string' || value instanceof Uint8Array
}

function debugExitPorts(debugExit: NonNullable<MachineOptions['debugExit']>): NormalMachineOptions['debugExit'] {
  if (debugExit === false) return null
  const { iobase = 0xf4, iosize = 4 } = debugExit === true ? {} : debugExit
  const inRange = (value: number, low: number, high: number) => Number.isInteger(value) && value >= low && value <= high
  if (!inRange(iosize, 1, 8) || !inRange(iobase, 0, LAST_PORT + 1 - iosize)) {
    throw bad('debugExit', `has iobase ${iobase} and iosize ${iosize}`)
  }
  return { iobase, iosize }
}

function traceGlobs(trace: string | readonly string[]): readonly string[] {
  const globs = [trace].flat()
  for (const glob of globs) {
    const problem = matchesNothing(glob)
    if (problem !== undefined) throw bad('trace', `has a glob for nothing: ${problem}`)
  }
  return globs
}

function isOption(key: string): key is keyof MachineOptions {
  return Object.hasOwn(shape, key)
}

function bad(option: keyof MachineOptions, what: string): MachineConfigError {
  return new MachineConfigError(`machine option '${option}' ${what}`, { option, remedy: `It takes ${takes[option]}.` })
}

function describe(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`
  if (value === null || typeof value !== 'object') return String(value)
  return Array.isArray(value) ? 'a list of something else' : 'an object of another shape'
}
