// Views of the kernel's structures: accessors over an ArrayBuffer, from the tables in `generated/`.
// They copy no data.

import { inspect } from 'node:util'
import { checkWhole } from '../errors/operation/argument-error.js'

/** A view of one structure of the kernel, in its byte order. */
export class Struct {
  /** The buffer that contains the structure. */
  readonly buffer: ArrayBufferLike
  /** The offset of the structure in `buffer`. */
  readonly byteOffset: number
  /** The whole structure, for fields that have no accessor. */
  readonly view: DataView

  constructor(buffer: ArrayBufferLike, byteOffset: number, size: number) {
    this.buffer = buffer
    this.byteOffset = byteOffset
    checkWhole('byteOffset', byteOffset, 0, buffer.byteLength - size, 'bytes')
    this.view = new DataView(buffer, byteOffset, size)
  }

  /** The structure's bytes, as a view and not as a copy. */
  get bytes(): Uint8Array {
    return new Uint8Array(this.buffer, this.byteOffset, this.view.byteLength)
  }
}

/**
 * The description of a member. `Value` is the type that its accessor returns. `Writable` is true if
 * it has a setter.
 */
export interface Member<Value, Writable extends boolean> {
  /** Returns the accessor of the member with this name. */
  readonly accessor: (name: string) => PropertyDescriptor & ThisType<Struct>
  /** Never set: carries the types. */
  readonly types?: [Value, Writable]
}

type Members = Readonly<Record<string, Member<unknown, boolean>>>

/** The accessors of a structure. Numbers can be written; arrays and nested structures are views. */
export type Values<M extends Members> = {
  -readonly [Name in keyof M as M[Name] extends Member<unknown, true> ? Name : never]: Value<M[Name]>
} & {
  readonly [Name in keyof M as M[Name] extends Member<unknown, true> ? never : Name]: Value<M[Name]>
}

type Value<M> = M extends Member<infer T, boolean> ? T : never

/** The class of the views of one structure. */
export interface StructClass<M extends Members> {
  /**
   * Creates a view of the structure in `buffer`, for example a vCPU's run page. Without a buffer,
   * creates a new structure of zeros.
   *
   * @param byteOffset - the offset of the structure; a multiple of 8 if the kernel's type has
   * 64-bit members.
   * @throws {@linkcode ArgumentError} when the structure exceeds the buffer.
   */
  new (buffer?: ArrayBufferLike, byteOffset?: number): Struct & Values<M>
  /** The size in bytes. */
  readonly size: number
}

/** Creates the view class of the structure `name` with these members. */
export function struct<const M extends Members>(name: string, size: number, members: M): StructClass<M> {
  class View extends Struct {
    static readonly size = size

    constructor(buffer: ArrayBufferLike = new ArrayBuffer(size), byteOffset = 0) {
      super(buffer, byteOffset, size)
    }

    [inspect.custom](_depth: number, options: object): string {
      const values = Object.keys(members).map(member => [member, this[member as keyof this]])
      return `${name} ${inspect(Object.fromEntries(values), options)}`
    }
  }
  for (const [member, { accessor }] of Object.entries(members)) {
    Object.defineProperty(View.prototype, member, { ...accessor(member), configurable: true, enumerable: true })
  }
  return View as unknown as StructClass<M>
}

type Scalar<Value> = (offset: number) => Member<Value, true>

/** A number of 8 bits. */
export const u8: Scalar<number> = offset => ({
  accessor: () => ({
    get() {
      return this.view.getUint8(offset)
    },
    set(value: number) {
      this.view.setUint8(offset, value)
    },
  }),
})

/** A number of 16 bits. */
export const u16: Scalar<number> = offset => ({
  accessor: () => ({
    get() {
      return this.view.getUint16(offset, true)
    },
    set(value: number) {
      this.view.setUint16(offset, value, true)
    },
  }),
})

/** A number of 32 bits. */
export const u32: Scalar<number> = offset => ({
  accessor: () => ({
    get() {
      return this.view.getUint32(offset, true)
    },
    set(value: number) {
      this.view.setUint32(offset, value, true)
    },
  }),
})

/** A number of 32 bits with a sign. */
export const i32: Scalar<number> = offset => ({
  accessor: () => ({
    get() {
      return this.view.getInt32(offset, true)
    },
    set(value: number) {
      this.view.setInt32(offset, value, true)
    },
  }),
})

/** A number of 64 bits, as a bigint. */
export const u64: Scalar<bigint> = offset => ({
  accessor: () => ({
    get() {
      return this.view.getBigUint64(offset, true)
    },
    set(value: bigint) {
      this.view.setBigUint64(offset, value, true)
    },
  }),
})

/** A number of 64 bits with a sign, as a bigint. */
export const i64: Scalar<bigint> = offset => ({
  accessor: () => ({
    get() {
      return this.view.getBigInt64(offset, true)
    },
    set(value: bigint) {
      this.view.setBigInt64(offset, value, true)
    },
  }),
})

/**
 * A 64-bit address or size of guest memory. At most 52 bits are used, so that a JavaScript number
 * is exact.
 */
export const gpa: Scalar<number> = offset => ({
  accessor: () => ({
    get() {
      return this.view.getUint32(offset, true) + this.view.getUint32(offset + 4, true) * 0x1_0000_0000
    },
    set(value: number) {
      this.view.setUint32(offset, value % 0x1_0000_0000, true)
      this.view.setUint32(offset + 4, value / 0x1_0000_0000, true)
    },
  }),
})

/**
 * A member that is created at the first read, and then replaces the accessor on the object. Later
 * reads are as fast as those of any property.
 */
const kept = <Value>(make: (buffer: ArrayBufferLike, byteOffset: number) => Value): Member<Value, false> => ({
  accessor: name => ({
    get(this: Struct) {
      const value = make(this.buffer, this.byteOffset)
      Object.defineProperty(this, name, { value, enumerable: true })
      return value
    },
  }),
})

/** An array of 8-bit numbers. */
export const u8s = (offset: number, count: number) =>
  kept((buffer, byteOffset) => new Uint8Array(buffer, byteOffset + offset, count))

/** Numbers of 64 bits. */
export const u64s = (offset: number, count: number) =>
  kept((buffer, byteOffset) => new BigUint64Array(buffer, byteOffset + offset, count))

/** A nested structure. */
export const nested = <M extends Members>(offset: number, type: StructClass<M>) =>
  kept((buffer, byteOffset) => new type(buffer, byteOffset + offset))

/** An array of nested structures. */
export const nesteds = <M extends Members>(offset: number, count: number, type: StructClass<M>) =>
  kept<readonly InstanceType<StructClass<M>>[]>((buffer, byteOffset) =>
    Array.from({ length: count }, (_, index) => new type(buffer, byteOffset + offset + index * type.size)),
  )
