// Converts a vCPU's state between the addon's plain data and the public type.

import type { MpState, VcpuState } from './vcpu-state.js'
import type { BindingVcpuState } from '../../native/binding.cjs'

const mpStates = ['runnable', 'uninitialized', 'init-received', 'halted', 'sipi-received'] as const
const formats = ['vmx', 'svm'] as const

/** Converts the addon's data to the public type. */
export const vcpuState = (state: BindingVcpuState): VcpuState => ({
  general: state.general,
  segments: state.segments,
  tables: state.tables,
  control: { ...state.control, pdptrs: state.control.pdptrs },
  xcr0: state.xcr0,
  xsave: state.xsave,
  msrs: new Map(state.msrs.map(({ index, value }) => [index, value])),
  events: { ...state.events, exception: state.events.exception, interrupt: state.events.interrupt },
  debug: state.debug,
  mpState: mpStates[state.mpState] ?? state.mpState,
  lapic: state.lapic,
  nested: state.nested && { ...state.nested, format: formats[state.nested.format] ?? state.nested.format },
  tscKhz: state.tscKhz,
})

/** Converts the public type to the addon's data. */
export const bindingVcpuState = (state: VcpuState): BindingVcpuState => {
  const { xcr0, lapic, nested, tscKhz, control, events, msrs, mpState, ...rest } = state
  const { pdptrs, ...registers } = control
  const { exception, interrupt, ...others } = events
  return {
    ...rest,
    control: { ...registers, ...(pdptrs && { pdptrs: [...pdptrs] }) },
    events: { ...others, ...(exception && { exception: defined(exception) }), ...(interrupt && { interrupt }) },
    msrs: [...msrs].map(([index, value]) => ({ index, value })),
    mpState: number(mpState, mpStates),
    ...(xcr0 !== undefined && { xcr0 }),
    ...(lapic && { lapic }),
    ...(nested && { nested: { ...nested, format: number(nested.format, formats) } }),
    ...(tscKhz !== undefined && { tscKhz }),
  }
}

const defined = ({ errorCode, payload, ...exception }: NonNullable<VcpuState['events']['exception']>) => ({
  ...exception,
  ...(errorCode !== undefined && { errorCode }),
  ...(payload !== undefined && { payload }),
})

const number = <T extends string>(value: T | MpState, names: readonly string[]): number =>
  typeof value === 'number' ? value : names.indexOf(value)
