import { plain, type Paint } from '../process/paint.js'
import type { DoctorReport } from './doctor.js'

/** Returns the text that `kvm-accel doctor` prints. */
export function doctorText(report: DoctorReport, paint: Paint = plain): string {
  const { device, cpu } = report
  const facts: [string, string][] = [
    ['kvm-accel', report.version],
    ['Kernel', `Linux ${report.kernel}`],
    ['CPU', `${cpu.model || 'unknown'} (${virtualization(cpu)})`],
    [
      'Device',
      device.exists
        ? `${device.path}, mode ${device.mode}, group ${device.group ?? 'unknown'}`
        : `${device.path} does not exist`,
    ],
    ['Permission', device.opens ? 'opens for reading and writing' : 'does not open'],
    ['API version', report.apiVersion === null ? 'not asked' : String(report.apiVersion)],
    ['Modules', report.modules.length > 0 ? report.modules.join(', ') : 'none loaded as modules'],
    ...(report.container === null ? [] : ([['Container', report.container]] as [string, string][])),
  ]
  return [
    ...facts.map(([name, value]) => `${name.padEnd(12)} ${value}`),
    ...capabilityLines(report, paint),
    '',
    ...verdict(report, paint),
    '',
  ].join('\n')
}

function capabilityLines({ capabilities }: DoctorReport, paint: Paint): string[] {
  if (capabilities.length === 0) return []
  const width = Math.max(...capabilities.map(({ name }) => name.length))
  const line = ({ number, name, value, required, absence }: (typeof capabilities)[number]): string => {
    const columns = `${String(number).padStart(3)} ${name.padEnd(width)}`
    if (value !== 0) return `  ${paint.good('yes')} ${columns} ${paint.dim(value === 1 ? '' : String(value))}`.trimEnd()
    return `  ${required ? paint.bad('NO ') : paint.dim('no ')} ${columns} ${absence}`
  }
  const part = (required: boolean): string[] => capabilities.filter(entry => entry.required === required).map(line)
  return ['', 'Required capabilities', ...part(true), '', 'Other capabilities', ...part(false)]
}

function verdict({ ok, problem }: DoctorReport, paint: Paint): string[] {
  if (ok || problem === null) return [paint.good('Guests can run on this host.')]
  const lines = [paint.bad(`Guests cannot run on this host: ${problem.message}.`)]
  return problem.remedy === null ? lines : [...lines, `  ${problem.remedy}`]
}

function virtualization({ vmx, svm, hypervisor }: DoctorReport['cpu']): string {
  const offers = vmx ? 'VMX' : svm ? 'SVM' : 'neither VMX nor SVM'
  return hypervisor ? `${offers}, inside a virtual machine` : offers
}
