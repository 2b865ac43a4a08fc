import { ArgumentError, checkWhole, invalidArgument } from '../../errors/operation/argument-error.js'
import { didYouMean } from '../../errors/suggest.js'
import type { VcpuState, VcpuStateChange } from './vcpu-state.js'

const U64 = 2n ** 64n

/** The largest values of fields that are narrower than 32 bits. */
const limits: Readonly<Record<string, number>> = {
  selector: 0xffff,
  attributes: 0xffff,
  vector: 0xff,
  interruptShadow: 0xff,
  pending: 0xff,
  'gdt.limit': 0xffff,
  'idt.limit': 0xffff,
}

/**
 * Applies a change to a vCPU's state. Pure.
 *
 * @throws {@linkcode ArgumentError} for an unknown register, for a value of another type, and for a
 * value that does not fit.
 */
export function changed(state: VcpuState, change: VcpuStateChange): VcpuState {
  const { general, segments, tables, control, xcr0 = state.xcr0, xsave = state.xsave, msrs, events, debug } = change
  if (xsave.length !== state.xsave.length) {
    throw invalidArgument('xsave', `${xsave.length} bytes`, `the ${state.xsave.length} bytes of this vCPU's area`)
  }
  return {
    ...state,
    general: merge(state.general, general, 'general'),
    segments: merge(state.segments, segments, 'segments'),
    tables: merge(state.tables, tables, 'tables'),
    control: merge(state.control, control, 'control'),
    xcr0: xcr0 === undefined ? undefined : leaf(xcr0, 0n, 'xcr0'),
    xsave,
    msrs: msrs ? new Map([...state.msrs, ...[...msrs].map(([index, value]) => msr(state, index, value))]) : state.msrs,
    events: merge(state.events, events, 'events'),
    debug: merge(state.debug, debug, 'debug'),
  }
}

/**
 * Returns `now` with the fields of `change`. A field that is undefined in `now` takes any value
 * that the addon accepts.
 */
function merge<T extends object>(now: T, change: object | undefined, path: string): T {
  const result = { ...now } as Record<string, unknown>
  for (const [key, value] of Object.entries(change ?? {})) {
    const place = `${path}.${key}`
    if (!(key in now)) throw unknownRegister(place, key, Object.keys(now))
    result[key] = leaf(value, result[key], place)
  }
  return result as T
}

function leaf<T>(value: T, now: unknown, place: string): T {
  if (isGroup(value) && (isGroup(now) || now === undefined)) {
    return merge((now ?? template(value)) as object, value, place) as T
  }
  if (value !== undefined && now !== undefined && typeof value !== typeof now) {
    throw invalidArgument(place, value, `a ${typeof now}`)
  }
  if (Array.isArray(value)) return value.map((one, at) => leaf<unknown>(one, 0n, `${place}[${at}]`)) as T
  if (typeof value === 'bigint' && !(value >= 0n && value < U64)) {
    throw invalidArgument(place, value, 'an unsigned number of 64 bits')
  }
  if (typeof value === 'number') {
    const [last = '', before = ''] = place.split('.').reverse()
    const limit = limits[`${before}.${last}`] ?? limits[last] ?? 0xffff_ffff
    checkWhole(place, value, 0, limit)
  }
  return value
}

const isGroup = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * Returns a template for an exception or an interrupt that the state does not have. The addon
 * checks the fields.
 */
const template = (value: object): object => Object.fromEntries(Object.keys(value).map(key => [key, undefined]))

function msr(state: VcpuState, index: number, value: bigint): [number, bigint] {
  const place = `msrs.0x${Number(index).toString(16)}`
  if (!state.msrs.has(index)) throw invalidArgument('MSR', place, 'one of the MSRs that this kernel lists')
  return [index, leaf(value, 0n, place)]
}

function unknownRegister(place: string, key: string, keys: readonly string[]): ArgumentError {
  const remedy = 'docs/reference/vcpu-state.md lists the registers.'
  return new ArgumentError(`unknown register '${place}'.${didYouMean(key, keys)}`, { argument: place, remedy })
}
