// From the normal form of a machine's options to the addon's plain data.

import { basename } from 'node:path'
import type { NormalMachineOptions } from '../machine/config/normal-options.js'
import { rtcOffset } from '../machine/config/rtc.js'
import type { Serial } from '../machine/config/serial.js'
import type { NormalDisk } from '../machine/config/virtio/disks.js'
import type { FwCfgContent } from '../machine/config/fw-cfg.js'
import { generationBytes } from '../machine/config/vm-generation.js'
import type { StagedBytes } from './staged-bytes.js'
import { macBytes, type Forward, type NetworkBackend, type NormalNetwork } from '../machine/config/virtio/networks.js'
import type { NormalRng } from '../machine/config/virtio/rng.js'
import type { NormalConsole } from '../machine/config/virtio/consoles.js'
import type { NormalVsock } from '../machine/config/virtio/vsock.js'
import type { AccelProperties } from '../properties/types.js'
import type {
  BindingAccelProperties,
  BindingConfig,
  BindingCpu,
  BindingLegacy,
  BindingSerial,
  BindingVirtio,
} from './binding.cjs'

/** The addon's form of a machine with these accelerator properties. */
export const toNative = (
  options: NormalMachineOptions,
  properties: AccelProperties,
  staged: StagedBytes,
): BindingConfig => ({
  accel: accel(properties),
  memory: options.memory,
  cpu: cpu(options),
  kernelName: typeof options.kernel === 'string' ? basename(options.kernel) : (options.name ?? 'kernel'),
  kernelFormat: options.kernelFormat,
  append: options.append,
  autoKernelCmdline: options.autoKernelCmdline,
  modules: options.initrd.map(({ image, ...rest }) => ({ ...rest, image: staged.source(image) })),
  ...(options.serials[0] && { serial: serial(options.serials[0]) }),
  ...(options.kernel === null ? {} : { kernel: staged.source(options.kernel) }),
  ...(options.firmware === null ? {} : { firmware: staged.source(options.firmware) }),
  acpi: options.acpi,
  ...(options.vmGenerationId === null ? {} : { generation: generationBytes(options.vmGenerationId) }),
  lostTickPolicy: options.lostTickPolicy,
  legacy: legacy(options, staged),
  virtio: virtio(options),
  trace: [...options.trace],
  ...(options.debugExit ? { debugExit: options.debugExit } : {}),
  noReboot: options.noReboot,
  noShutdown: options.noShutdown,
})

const cpu = ({ cpu, topology, cpuPm, msrFilter, busLockRatelimit }: NormalMachineOptions): BindingCpu => {
  const { features, pmu, tscKhz, ...rest } = cpu
  return {
    ...rest,
    ...topology,
    features: [...features],
    disableExits: cpuPm,
    msrRules: msrFilter.map(({ read, write, ...range }) => ({
      ...range,
      read: typeof read === 'function' ? 'ask' : read,
      write: typeof write === 'function' ? 'ask' : write,
    })),
    busLockRatelimit,
    ...(pmu === null ? {} : { pmu }),
    ...(tscKhz === null ? {} : { tscKhz }),
  }
}

const accel = ({ kvmShadowMem, notifyBudget, ...properties }: AccelProperties): BindingAccelProperties => ({
  ...properties,
  kvmShadowMem: kvmShadowMem ?? -1,
  ...(notifyBudget ? { notifyBudget } : {}),
})

const legacy = (
  { serials, debugConsole, pic, pit, rtc, fwCfg, testDevices, pvpanic }: NormalMachineOptions,
  staged: StagedBytes,
): BindingLegacy => ({
  serials: serials.flatMap((target, port) => (port > 0 && target ? [{ port, target: serial(target) }] : [])),
  ...(debugConsole && { debugConsole: { port: debugConsole.port, target: serial(debugConsole.target) } }),
  rtc: { offset: rtcOffset(rtc, new Date()), stops: rtc.clock === 'vm' },
  fwCfg: Object.entries(fwCfg).map(([name, content]) => ({ name, contents: staged.source(contents(content)) })),
  testDevices,
  pvpanic,
  pic,
  pit,
})

const contents = (content: FwCfgContent): Uint8Array | string => {
  if (content instanceof Uint8Array) return content
  return 'file' in content ? content.file : new TextEncoder().encode(content.string)
}

/** All virtio devices; a guest finds those of one kind in this order. */
const virtio = ({ disks, networks, rng, vsock, balloon, consoles }: NormalMachineOptions): BindingVirtio[] => [
  ...disks.map(block),
  ...networks.map(network),
  ...(rng ? [entropy(rng)] : []),
  ...(vsock ? [sockets(vsock)] : []),
  ...(balloon ? [{ kind: 'balloon', ...balloon } as const] : []),
  ...(consoles.length > 0 ? [console(consoles)] : []),
]

const network = ({ backend, mac, mtu, throttle }: NormalNetwork): BindingVirtio => ({
  kind: 'net',
  ...place(backend),
  mac: macBytes(mac),
  throttle,
  ...(mtu === undefined ? {} : { mtu }),
})

const place = (backend: NetworkBackend) => {
  if ('tap' in backend) return { backend: 'tap', target: backend.tap, tcp: [], udp: [] }
  if ('stream' in backend) return { backend: 'stream', target: backend.stream, tcp: [], udp: [] }
  const forwards = backend.user === true ? [] : (backend.user.forwards ?? [])
  return { backend: 'user', target: '', tcp: ports(forwards, 'tcp'), udp: ports(forwards, 'udp') }
}

/** In passt's words: `127.0.0.1/8080:80`. */
const ports = (forwards: readonly Forward[], wanted: 'tcp' | 'udp'): string[] =>
  forwards
    .filter(({ protocol = 'tcp' }) => protocol === wanted)
    .map(({ hostAddress, hostPort, guestPort }) => {
      const address = hostAddress === undefined ? '' : `${hostAddress}/`
      return `${address}${hostPort}:${guestPort}`
    })

const block = (disk: NormalDisk): BindingVirtio => {
  const { id: _, ...rest } = disk
  return { kind: 'block', ...rest }
}

const entropy = ({ maxBytes, ...rest }: NormalRng): BindingVirtio => ({
  kind: 'rng',
  ...rest,
  ...(maxBytes === null ? {} : { maxBytes }),
})

const console = (consoles: readonly NormalConsole[]): BindingVirtio => ({
  kind: 'console',
  ports: consoles.map(({ target, name }) => ({ target: serial(target), ...(name !== null && { name }) })),
})

const sockets = ({ cid, path, maxConnections }: NormalVsock): BindingVirtio => ({
  kind: 'vsock',
  cid,
  maxConnections,
  ...(path === null ? {} : { path }),
})

const serial = (target: Serial): BindingSerial => {
  switch (target.kind) {
    case 'stdio':
      return { kind: 'stdout' }
    case 'writable':
    case 'socket':
    case 'pty':
      return { kind: 'stream' }
    case 'file':
      return { kind: 'file', path: target.path }
    default:
      return { kind: target.kind }
  }
}
