// Guest memory, QEMU's -m and -object memory-backend-….

import { build } from '../../schema/build.js'
import { object } from '../../schema/compound.js'
import type { Entry, NormalOf, OptionsOf } from '../../schema/entry.js'
import { conflict } from '../../schema/invalid.js'
import { boolean, choice, path } from '../../schema/scalars.js'
import { formatSize, parseSize } from '../../schema/size.js'

/** 1 MiB: the minimum for the loaders and the board's tables. */
export const MIN_MEMORY = 1024 * 1024
/** The guest's page size, in bytes. */
export const PAGE_SIZE = 4096

/** The size of a huge page of x86. */
export type HugePageSize = keyof typeof hugePageSizes

const hugePageSizes = { '2M': 0x20_0000, '1G': 0x4000_0000 } as const

const sizeTakes =
  "a whole number of bytes up to 2^53 - 1, or a text with an optional K, M, G or T suffix (default M), for example '512M'"

const size = build<number | string, number, undefined>(
  {
    takes: sizeTakes,
    read: value => {
      const bytes = typeof value === 'string' ? parseSize(value) : value
      return typeof bytes === 'number' && Number.isSafeInteger(bytes) ? bytes : undefined
    },
    // A text without a suffix would be read as MiB.
    write: bytes => (formatSize(bytes) === String(bytes) ? bytes : formatSize(bytes)),
  },
  { cli: '-m' },
)

const members = {
  /**
   * The size in bytes, or as `-m` takes it. At least 1 MiB, and a multiple of 4 KiB or of the huge
   * page size.
   */
  size,
  /**
   * The backend. `anonymous` is this process's own memory. `memfd` is an unnamed file that other
   * processes may map through `/proc/PID/fd`, and that no process can truncate. `file` is the file
   * at `path`.
   *
   * @default 'file' with `path`, else 'anonymous'
   */
  backend: choice(['anonymous', 'memfd', 'file'], {
    default: null,
    defaultText: "'file' with `path`, else 'anonymous'",
    cli: '-object memory-backend-…',
  }),
  /**
   * The file of the backend `file`, or a directory in which the machine creates an unnamed file. An
   * existing file must be at least as long as the memory. An empty or missing file gets the size of
   * the memory. In a directory on hugetlbfs, the unnamed file has huge pages.
   *
   * @default none
   */
  path: path({ default: null, cli: '-mem-path' }),
  /**
   * Makes the guest's writes visible in the file and in other processes that map it.
   *
   * @default true for 'memfd', else false
   */
  share: boolean({
    default: null,
    defaultText: "true for 'memfd', else false",
    cli: '-object memory-backend-… share',
  }),
  /**
   * Allocates all memory on the host before the guest starts. {@link Machine.create} fails if the
   * host has too little memory.
   *
   * @default false
   */
  prealloc: boolean({ default: false, cli: '-mem-prealloc' }),
  /**
   * Reserves huge pages of the host; `true` means 2 MiB pages. Not for the backend `file`.
   *
   * @default false
   */
  hugePages: build<boolean | HugePageSize, number, false>(
    {
      takes: "a boolean, '2M' or '1G'",
      read: value => {
        if (value === false) return 0
        if (value === true || value === '2M') return hugePageSizes['2M']
        return value === '1G' ? hugePageSizes['1G'] : undefined
      },
      write: bytes => (bytes === 0 ? false : bytes === hugePageSizes['2M'] ? '2M' : '1G'),
    },
    { default: false, cli: '-object memory-backend-memfd hugetlbsize' },
  ),
}

/** The size of guest memory and its backend. */
export interface MemoryOptions extends OptionsOf<typeof members> {}

/** {@link MemoryOptions} in normal form. */
export interface NormalMemory {
  /** Bytes. */
  readonly size: number
  readonly backend: 'anonymous' | 'memfd' | 'file'
  /** Empty except for the backend `file`. */
  readonly path: string
  readonly share: boolean
  readonly prealloc: boolean
  /** Bytes of a huge page; 0 for ordinary pages. */
  readonly hugePages: number
}

const memoryObject: Entry<MemoryOptions, NormalMemory, 'required'> = object('MemoryOptions', members, {
  finish,
  restore: ({ path, ...rest }) => ({ ...rest, path: path === '' ? null : path }),
})

export const memoryEntry = build<number | string | MemoryOptions, NormalMemory, '128M'>(
  {
    takes: `${sizeTakes}, or ${memoryObject.takes}`,
    nested: { name: 'MemoryOptions', members },
    read: (value, path) => {
      if (typeof value === 'object' && value !== null) return memoryObject.read(value, path)
      return typeof value === 'number' || typeof value === 'string'
        ? finish({ size: size.read(value, path), ...withoutSize }, path)
        : undefined
    },
    write: normal => memoryObject.write(normal) ?? '128M',
  },
  { default: '128M', cli: '-m' },
)

const withoutSize = { backend: null, path: null, share: null, prealloc: false, hugePages: 0 } as const

/** Checks the members against each other. */
function finish(options: NormalOf<typeof members>, at: string): NormalMemory {
  const { path, share, prealloc, hugePages } = options
  const backend = options.backend ?? (path === null ? 'anonymous' : 'file')
  if (backend === 'file' && path === null) {
    throw conflict(at, "backend 'file' needs a path", "Give 'path', or another backend.")
  }
  if (backend !== 'file' && path !== null) {
    throw conflict(at, `backend '${backend}' does not use a path`, "Omit 'path', or give backend 'file'.")
  }
  if (backend === 'file' && hugePages !== 0) {
    throw conflict(
      at,
      "'hugePages' does not apply to backend 'file'",
      "Omit 'hugePages', and give a directory on hugetlbfs as 'path'.",
    )
  }
  checkSize(options.size, hugePages || PAGE_SIZE, at)
  return { size: options.size, backend, path: path ?? '', share: share ?? backend === 'memfd', prealloc, hugePages }
}

function checkSize(bytes: number, page: number, at: string): void {
  if (bytes < MIN_MEMORY) {
    throw conflict(at, `${bytes} bytes are less than 1 MiB`, "Give at least '1M'.")
  }
  if (bytes % page === 0) return
  const above = formatSize(Math.ceil(bytes / page) * page)
  throw conflict(at, `${bytes} bytes are not a multiple of ${formatSize(page)}, the page size`, `Give '${above}'.`)
}
