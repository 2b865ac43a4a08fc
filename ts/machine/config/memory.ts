// Guest memory in normal form.

import * as v from 'valibot'
import { MachineConfigError } from '../../errors/machine-config-error.js'
import { either } from '../../errors/suggest.js'
import type { MemoryOptions } from './machine-options.js'
import { formatSize, parseSize } from '../../schema/size.js'

/** 1 MiB: what every loader and board table of this package needs at least. */
export const MIN_MEMORY = 1024 * 1024
/** The guest's page size, in bytes. */
export const PAGE_SIZE = 4096

/** {@link MemoryOptions}, everything set. */
export interface NormalMemory {
  /** Bytes. */
  readonly size: number
  readonly backend: 'anonymous' | 'memfd' | 'file'
  /** Empty but for the backend `file`. */
  readonly path: string
  readonly share: boolean
  readonly prealloc: boolean
  /** Bytes of a huge page; 0 for ordinary pages. */
  readonly hugePages: number
}

const backends = ['anonymous', 'memfd', 'file'] as const
const hugePageSizes = { '2M': 2 ** 21, '1G': 2 ** 30 } as const

/** Shape only; what belongs together is checked by {@link normaliseMemory}. */
export const memoryShape = v.union([
  v.number(),
  v.string(),
  v.strictObject({
    size: v.union([v.number(), v.string()]),
    backend: v.optional(v.picklist(backends)),
    path: v.optional(
      v.pipe(
        v.string(),
        v.nonEmpty(),
        v.check(path => !path.includes('\0')),
      ),
    ),
    share: v.optional(v.boolean()),
    prealloc: v.optional(v.boolean()),
    hugePages: v.optional(v.union([v.boolean(), v.picklist(['2M', '1G'])])),
  }),
])

/** What the option takes, for messages. */
export const memoryTakes =
  "a number of bytes, a size such as '128M', or { size, backend, path, share, prealloc, hugePages } with backend " +
  `${either(backends.map(backend => `'${backend}'`))} and hugePages true, '2M' or '1G'`

/** Checks what belongs together and fills in the defaults. */
export function normaliseMemory(memory: number | string | MemoryOptions): NormalMemory {
  const options: MemoryOptions = typeof memory === 'object' ? memory : { size: memory }
  const { path, share, prealloc = false, hugePages = false } = options
  const backend = options.backend ?? (path === undefined ? 'anonymous' : 'file')
  if (backend === 'file' && path === undefined) throw bad("has backend 'file' and no path")
  if (backend !== 'file' && path !== undefined) throw bad(`has a path, which backend '${backend}' does not use`)
  if (backend === 'file' && hugePages !== false) {
    throw bad('has huge pages, which a file has on hugetlbfs: name a directory there as the path, and leave hugePages')
  }
  const hugePage = hugePages === false ? 0 : hugePageSizes[hugePages === true ? '2M' : hugePages]
  return {
    size: memoryBytes(options.size, hugePage || PAGE_SIZE),
    backend,
    path: path ?? '',
    share: share ?? backend === 'memfd',
    prealloc,
    hugePages: hugePage,
  }
}

function memoryBytes(size: number | string, page: number): number {
  const bytes = typeof size === 'number' ? size : parseSize(size)
  if (bytes === 'syntax') throw bad(`is '${size}', which is no size`)
  if (bytes === 'range' || !Number.isSafeInteger(bytes)) {
    throw bad(`is ${size}, and a size is a whole number of bytes up to 2^53 - 1`)
  }
  if (bytes < MIN_MEMORY) throw bad(`is ${bytes} bytes, and a machine has at least 1 MiB`)
  if (bytes % page !== 0) {
    const above = formatSize(Math.ceil(bytes / page) * page)
    const pages =
      page === PAGE_SIZE ? 'guest memory comes in pages of 4 KiB' : `its huge pages are of ${formatSize(page)}`
    throw bad(`is ${bytes} bytes, and ${pages}; the next size is '${above}'`)
  }
  return bytes
}

function bad(what: string): MachineConfigError {
  return new MachineConfigError(`machine option 'memory' ${what}`, {
    option: 'memory',
    remedy: `It takes ${memoryTakes}.`,
  })
}
