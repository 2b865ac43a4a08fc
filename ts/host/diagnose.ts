import { KvmUnavailableError, type UnavailableReason } from '../errors/host/kvm-unavailable-error.js'
import type { HostFacts } from './facts.js'

/**
 * Derives from the facts why KVM is unavailable, and the remedy. Returns undefined if the facts
 * show no obstacle. Pure.
 */
export function diagnoseKvm(facts: HostFacts): KvmUnavailableError | undefined {
  return wrongPlatform(facts) ?? (facts.device.node === null ? noNode(facts) : cannotOpen(facts))
}

function wrongPlatform({ platform, arch }: HostFacts): KvmUnavailableError | undefined {
  if (platform !== 'linux') {
    return unavailable(
      'unsupported-platform',
      `KVM is part of Linux, and this is ${platform}`,
      'Run it on Linux, for example in a virtual machine that has nested virtualization.',
    )
  }
  if (arch !== 'x64') {
    const remedy = 'Run it on an x86-64 host, with a Node.js built for x64.'
    return unavailable('unsupported-platform', `kvm-accel runs x86-64 guests, and this Node.js is for ${arch}`, remedy)
  }
  return undefined
}

/** Diagnoses a device path at which no file exists. */
function noNode({ device: { path }, container, cpuFlags, kvmModules, kernel }: HostFacts): KvmUnavailableError {
  if (container !== null) {
    const remedy = `Pass the device to the container: '--device ${path}' for docker and podman, a device plugin for Kubernetes.`
    return unavailable('container', `${path} does not exist in this container (${container})`, remedy)
  }
  const vendor = vendorModule(cpuFlags)
  if (vendor === undefined && kvmModules.length === 0) {
    const remedy = cpuFlags.has('hypervisor')
      ? 'This system is a virtual machine: turn on nested virtualization for it in its hypervisor.'
      : 'Turn on virtualization (Intel VT-x, AMD-V or SVM) in the firmware setup.'
    return unavailable(
      'no-virtualization',
      `${path} does not exist, because the CPU supports neither VMX nor SVM`,
      remedy,
    )
  }
  if (/microsoft/i.test(kernel)) {
    const remedy = "Set 'nestedVirtualization=true' under [wsl2] in .wslconfig, then run 'wsl --shutdown'."
    return unavailable('no-device', `${path} does not exist in this WSL system`, remedy)
  }
  const remedy = `Load the module: 'sudo modprobe ${vendor ?? 'kvm'}'. If that fails, read the kernel's log ('dmesg').`
  return unavailable('no-device', `${path} does not exist, because no KVM module is loaded`, remedy)
}

/** Diagnoses a device path at which a file exists. */
function cannotOpen(facts: HostFacts): KvmUnavailableError | undefined {
  const { path, node, openError } = facts.device
  if (openError === null || node === null) return undefined
  if (!node.isCharacterDevice) {
    return unavailable('no-device', `${path} is not a device`, "Check the property 'device'. The default is /dev/kvm.")
  }
  const message = `cannot open ${path}: ${openError}`
  switch (openError) {
    case 'EACCES':
    case 'EPERM':
      return forbidden(facts, message)
    case 'ENOENT':
    case 'ENXIO':
    case 'ENODEV': {
      const vendor = vendorModule(facts.cpuFlags) ?? 'kvm_intel or kvm_amd'
      return unavailable(
        'no-device',
        `${message}, because no KVM module is behind it`,
        `Load the module: 'sudo modprobe ${vendor}'.`,
      )
    }
    case 'EBUSY':
      return unavailable(
        'unknown',
        message,
        'Another hypervisor uses the CPU, for example VirtualBox: stop it or unload its module.',
      )
    case 'EMFILE':
    case 'ENFILE':
      return unavailable('unknown', message, "Too many files are open: raise the limit ('ulimit -n').")
    default:
      return unavailable('unknown', message, "Look for the cause in the kernel's log ('dmesg').")
  }
}

function forbidden({ device, deviceGroup, uid, container }: HostFacts, message: string): KvmUnavailableError {
  const { path, node } = device
  // Root passes the check of the file mode, so the container's device list or a security module
  // refuses the open.
  if (uid === 0 && container !== null) {
    const remedy = `Pass the device to the container: '--device ${path}' for docker and podman, a device plugin for Kubernetes.`
    return unavailable('container', `${message}: this container (${container}) may not use the device`, remedy)
  }
  if (uid === 0)
    return unavailable('no-permission', message, 'A security module or a device cgroup denies access: read its log.')
  const mode = (node?.mode ?? 0).toString(8).padStart(3, '0')
  const group = deviceGroup ?? `group ${node?.gid}`
  // Suggest the device's group only if it has a name and is not root's group.
  const remedy =
    deviceGroup !== null && deviceGroup !== 'root' && ((node?.mode ?? 0) & 0o060) === 0o060
      ? `Join the group: 'sudo usermod -aG ${deviceGroup} $USER', then log in again.`
      : `Allow this user: 'sudo setfacl -m u:$USER:rw ${path}'.`
  return unavailable('no-permission', `${message} (mode ${mode}, ${group})`, remedy)
}

function vendorModule(flags: ReadonlySet<string>): string | undefined {
  if (flags.has('vmx')) return 'kvm_intel'
  return flags.has('svm') ? 'kvm_amd' : undefined
}

function unavailable(reason: UnavailableReason, message: string, remedy: string): KvmUnavailableError {
  return new KvmUnavailableError(message, { reason, remedy })
}
