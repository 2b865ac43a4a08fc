import { KvmAccelError } from '../../errors/kvm-accel-error.js'
import { KvmCapabilityError } from '../../errors/host/kvm-capability-error.js'
import { reportCapabilities, type CapabilityReport } from '../../host/capabilities.js'
import { diagnoseKvm } from '../../host/diagnose.js'
import { collectHostFacts, type HostFacts } from '../../host/facts.js'
import { native, unwrap } from '../../native/native.js'
import { packageVersion } from '../version.js'

/** The report of `kvm-accel doctor`. `--json` prints it unchanged. */
export interface DoctorReport {
  /** True if guests can run. */
  readonly ok: boolean
  /** The reason why guests cannot run; null when they can. */
  readonly problem: {
    readonly code: string
    readonly reason: string | null
    readonly message: string
    readonly remedy: string | null
  } | null
  /** The version of this package. */
  readonly version: string
  readonly device: {
    readonly path: string
    readonly exists: boolean
    /** The permissions in octal, for example `660`; null when the path does not exist. */
    readonly mode: string | null
    readonly group: string | null
    /** True if this user can open it for reading and writing. */
    readonly opens: boolean
  }
  /** KVM_GET_API_VERSION; null when the device could not be opened. */
  readonly apiVersion: number | null
  readonly kernel: string
  readonly cpu: { readonly model: string; readonly vmx: boolean; readonly svm: boolean; readonly hypervisor: boolean }
  readonly modules: readonly string[]
  readonly container: string | null
  /** Empty when the device could not be opened. */
  readonly capabilities: readonly CapabilityReport[]
}

/** The answers of KVM; null when the device could not be opened. */
export interface ProbeResult {
  readonly apiVersion: number
  /** Pairs of number and value; 0 for a capability that KVM does not have. */
  readonly capabilities: readonly (readonly number[])[]
}

/** Examines this host. Creates no machine. */
export async function examine(): Promise<DoctorReport> {
  const facts = await collectHostFacts()
  const problem = diagnoseKvm(facts)
  if (problem !== undefined) return report(facts, null, problem)
  try {
    return report(facts, unwrap(native().probeHost(facts.device.path)), null)
  } catch (error) {
    if (error instanceof KvmAccelError) return report(facts, null, error)
    throw error
  }
}

/** Combines the facts and the answers. Pure except for the package's version. */
export function report(facts: HostFacts, probed: ProbeResult | null, error: KvmAccelError | null): DoctorReport {
  const { device, cpuFlags } = facts
  const answers = probed?.capabilities.map(([number = -1, value = 0]): [number, number] => [number, value])
  const capabilities = answers === undefined ? [] : reportCapabilities(Object.fromEntries(answers))
  const problem = error ?? missingCapability(capabilities)
  return {
    ok: problem === null,
    problem: problem && {
      code: problem.code,
      reason: 'reason' in problem ? String(problem.reason) : null,
      message: problem.message,
      remedy: problem.remedy ?? null,
    },
    version: packageVersion(),
    device: {
      path: device.path,
      exists: device.node !== null,
      mode: device.node === null ? null : device.node.mode.toString(8).padStart(3, '0'),
      group: facts.deviceGroup,
      opens: device.openError === null,
    },
    apiVersion: probed?.apiVersion ?? null,
    kernel: facts.kernel,
    cpu: {
      model: facts.cpu,
      vmx: cpuFlags.has('vmx'),
      svm: cpuFlags.has('svm'),
      hypervisor: cpuFlags.has('hypervisor'),
    },
    modules: facts.kvmModules,
    container: facts.container,
    capabilities,
  }
}

function missingCapability(capabilities: readonly CapabilityReport[]): KvmCapabilityError | null {
  const missing = capabilities.find(({ required, value }) => required && value === 0)
  if (missing === undefined) return null
  const message = `this kernel does not support ${missing.name} (${missing.number}), which the accelerator requires`
  const remedy = 'Use Linux 4.11 or later, which has every required capability.'
  return new KvmCapabilityError(message, { capability: missing.name, remedy })
}
