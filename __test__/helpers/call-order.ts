import * as constants from 'kvm-accel/kvm'
import type { Call } from './interpose.js'

/** A phase of the start: the calls from its first call to the first call of the next phase. */
export interface Phase {
  readonly name: string
  /** The name of the first call. A capability stands for the `KVM_CHECK_EXTENSION` of it. */
  readonly begins: string
  /** The difference from QEMU's order, and the reason for ours. */
  readonly qemu?: string
}

/** Returns the phases of a start, in order. */
export const phases = (vcpus: number): readonly Phase[] => [
  {
    name: 'System: which KVM this is',
    begins: 'KVM_GET_API_VERSION',
    qemu: 'asks IMMEDIATE_EXIT and NR_MEMSLOTS before the VM exists; we ask when we need the answer. Both come before any effect.',
  },
  {
    name: 'VM: created, and the number of vCPUs held against its limits',
    begins: 'KVM_CREATE_VM',
    qemu: 'asks for the size of the vCPU mapping at its first vCPU.',
  },
  {
    name: 'Required capabilities: the error names the first missing one',
    begins: 'KVM_CAP_USER_MEMORY',
    qemu: '7.2 asks for 6 of them and learns of the others where it fails; this is the list of 10.0, IRQFD and IMMEDIATE_EXIT.',
  },
  {
    name: 'Capabilities that are used where the host has them, enabled at once',
    begins: 'KVM_CAP_COALESCED_MMIO',
    qemu: 'queries a dozen more here; kvm-accel queries them where they are used.',
  },
  { name: 'The two places in guest memory that VMX needs', begins: 'KVM_SET_IDENTITY_MAP_ADDR' },
  {
    name: 'CPUID: what the host offers, so that a CPU it lacks is refused before there is a guest',
    begins: 'KVM_CAP_TSC_DEADLINE_TIMER',
    qemu: 'asks with a growing buffer after the slots: 8 calls. Here it is one call of the process.',
  },
  {
    name: 'Notify exits and filtered MSRs: the last that is enabled',
    begins: 'KVM_CAP_X86_NOTIFY_VMEXIT',
  },
  {
    name: 'Memory slots, before the interrupt controllers',
    begins: 'KVM_CAP_NR_MEMSLOTS',
    qemu: 'has the irqchip first. A slot change after an irqchip, a PIT or an ioeventfd exists waits for milliseconds in the kernel.',
  },
  {
    name: 'Interrupt controllers, PIT and routes; their power-on state is read, and what firmware leaves in them is written',
    begins: 'KVM_CREATE_IRQCHIP',
    qemu: 'probes 7 ioeventfds (until 10.0), creates the PIT with its board, after the vCPUs, and makes the power-on state itself.',
  },
  {
    name: 'What every vCPU needs to know',
    begins: 'KVM_GET_MSR_INDEX_LIST',
    qemu: 'asks for the MSR lists during the initialisation of the accelerator. Here they are one call of the process.',
  },
  ...Array.from({ length: vcpus }, (_, id) => ({
    name: `vCPU ${id}: created, described, its power-on state read${id === 0 ? ', and put where the guest starts' : ''}`,
    begins: 'KVM_CREATE_VCPU',
    ...(id === 0 && {
      qemu: 'writes its own power-on state, and writes it again for the reset that starts a machine.',
    }),
  })),
  { name: 'Statistics, and what guest debug can do', begins: 'KVM_CAP_BINARY_STATS_FD' },
  {
    name: 'Run: all vCPUs exist',
    begins: 'KVM_RUN',
    qemu: 'sets the clock and notifies the guest of a pause; kvm-accel does not, because the guest has not run.',
  },
]

const capabilities = new Map<number, string>(
  Object.entries(constants).flatMap(([name, value]) =>
    name.startsWith('KVM_CAP_') && typeof value === 'number' ? [[value, name] as const] : [],
  ),
)

const capability = (cap: number): string => capabilities.get(cap) ?? `capability ${cap}`

/**
 * Formats one call: the object that it is called on, its name, and its capability. The vCPU of the
 * first KVM_RUN is left out, because any vCPU may run first.
 */
const line = ({ ioctl, fd, vcpu, cap, arg }: Call, vm: number): string => {
  let on = 'system'
  if (fd === vm) on = 'vm'
  else if (vcpu !== undefined) on = ioctl === 'KVM_RUN' ? 'vcpu' : `vcpu ${vcpu}`
  const about = cap === undefined ? '' : ` ${capability(cap)}`
  return `${on.padEnd(6)}  ${ioctl}${about}${arg === undefined ? '' : ` ${arg}`}`
}

const isFirst = ({ begins }: Phase, { ioctl, cap }: Call): boolean =>
  begins === ioctl || (ioctl === 'KVM_CHECK_EXTENSION' && cap !== undefined && begins === capability(cap))

/** Formats the calls up to the first entry into the guest, one paragraph for each phase. */
export const describeStart = (calls: readonly Call[], expected: readonly Phase[]): string => {
  const vm = calls.find(({ ioctl }) => ioctl === 'KVM_CREATE_VM')?.result ?? -1
  const run = calls.findIndex(({ ioctl }) => ioctl === 'KVM_RUN')
  const text: string[] = []
  let begun = 0
  for (const call of calls.slice(0, run + 1)) {
    const next = expected[begun]
    if (next && isFirst(next, call)) {
      text.push('', `# ${next.name}`, ...(next.qemu ? [`#   QEMU ${next.qemu}`] : []))
      begun += 1
    }
    text.push(line(call, vm))
  }
  const missing = expected.slice(begun).map(({ name }) => `# MISSING, or in another order: ${name}`)
  return [...text, ...missing].join('\n').trimStart() + '\n'
}
