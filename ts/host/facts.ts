import { constants } from 'node:fs'
import { access, open, readFile, stat } from 'node:fs/promises'
import { arch, platform, release } from 'node:os'

/** The state of the device's path. */
export interface DeviceFacts {
  readonly path: string
  /** Null if the path does not exist. */
  readonly node: {
    readonly isCharacterDevice: boolean
    readonly mode: number
    readonly uid: number
    readonly gid: number
  } | null
  /**
   * The error code of opening it for reading and writing, for example `EACCES`; null if it opens.
   */
  readonly openError: string | null
}

/** Facts about a host that are collected without calling KVM. */
export interface HostFacts {
  /** `process.platform`, for example `linux`. */
  readonly platform: string
  /** `process.arch`, for example `x64`. */
  readonly arch: string
  /** The kernel release. */
  readonly kernel: string
  /** The CPU's model name; empty if it is unknown. */
  readonly cpu: string
  readonly device: DeviceFacts
  /**
   * The flags of the CPU that matter to KVM: `vmx` (Intel), `svm` (AMD), and `hypervisor` if this
   * host is itself a guest.
   */
  readonly cpuFlags: ReadonlySet<string>
  /**
   * Loaded modules whose name begins with `kvm`. A module that is built into the kernel is not
   * listed.
   */
  readonly kvmModules: readonly string[]
  /** The kind of container that this process runs in; null if no sign of a container was found. */
  readonly container: string | null
  /** The user id of this process; null on a platform without user ids. */
  readonly uid: number | null
  /** The name of the device's group; null if it is unknown. */
  readonly deviceGroup: string | null
}

/** Collects the facts. Opens the device and closes it again. Never throws. */
export async function collectHostFacts(path = '/dev/kvm'): Promise<HostFacts> {
  const [device, cpuinfo, modules, container, groups] = await Promise.all([
    deviceFacts(path),
    readText('/proc/cpuinfo'),
    readText('/proc/modules'),
    containerKind(),
    readText('/etc/group'),
  ])
  return {
    platform: platform(),
    arch: arch(),
    kernel: release(),
    cpu: field(cpuinfo, 'model name'),
    device,
    cpuFlags: new Set(
      field(cpuinfo, 'flags')
        .split(' ')
        .filter(flag => ['vmx', 'svm', 'hypervisor'].includes(flag)),
    ),
    kvmModules: modules
      .split('\n')
      .map(line => line.split(' ', 1)[0] ?? '')
      .filter(name => name.startsWith('kvm')),
    container,
    uid: process.getuid?.() ?? null,
    deviceGroup: device.node === null ? null : groupName(groups, device.node.gid),
  }
}

async function deviceFacts(path: string): Promise<DeviceFacts> {
  try {
    const stats = await stat(path)
    const node = {
      isCharacterDevice: stats.isCharacterDevice(),
      mode: stats.mode & 0o777,
      uid: stats.uid,
      gid: stats.gid,
    }
    // Opening a file that is not a device could block (a FIFO) or change it.
    return { path, node, openError: node.isCharacterDevice ? await openError(path) : 'ENODEV' }
  } catch (error) {
    return { path, node: null, openError: codeOf(error) }
  }
}

async function openError(path: string): Promise<string | null> {
  try {
    const device = await open(path, constants.O_RDWR)
    await device.close()
    return null
  } catch (error) {
    return codeOf(error)
  }
}

async function containerKind(): Promise<string | null> {
  if (await exists('/.dockerenv')) return 'docker'
  if (await exists('/run/.containerenv')) return 'podman'
  if (process.env['KUBERNETES_SERVICE_HOST'] !== undefined) return 'kubernetes'
  // systemd-nspawn, LXC and other runtimes set `container=` for the first process. Only root can
  // read its environment.
  const init = await readText('/proc/1/environ')
  const named = /(?:^|\0)container=([^\0]+)/.exec(init)?.[1]
  if (named !== undefined) return named
  const groups = await readText('/proc/1/cgroup')
  return /docker|containerd|kubepods|lxc|libpod/.exec(groups)?.[0] ?? null
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch {
    return false
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch {
    return ''
  }
}

/** Returns the value of the first line `name : value` of a file such as /proc/cpuinfo. */
function field(text: string, name: string): string {
  const line = text.split('\n').find(line => line.startsWith(name))
  return line?.slice(line.indexOf(':') + 1).trim() ?? ''
}

function groupName(groups: string, gid: number): string | null {
  for (const line of groups.split('\n')) {
    const [name, , id] = line.split(':')
    if (name !== undefined && id === String(gid)) return name
  }
  return null
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'UNKNOWN'
}
