// The options of the boot.

import { build } from '../../schema/build.js'
import { list, object } from '../../schema/compound.js'
import type { Entry, NormalOf, OptionsOf } from '../../schema/entry.js'
import { conflict } from '../../schema/invalid.js'
import { boolean, choice, file, text } from '../../schema/scalars.js'

/** How a kernel image is loaded and entered. */
export type KernelFormat = 'auto' | 'flat' | 'linux' | 'multiboot' | 'pvh'

const moduleMembers = {
  /** The path of a file, or its bytes. */
  image: file(),
  /**
   * The command line of a multiboot module. Other formats do not pass it.
   *
   * @default the path, as in QEMU; empty for bytes
   */
  cmdline: text({ default: null, defaultText: 'the path, as in QEMU; empty for bytes' }),
}

/** An initial RAM disk, or a multiboot module. */
export interface InitrdImage extends OptionsOf<typeof moduleMembers> {}

/** {@link InitrdImage} in normal form. */
export interface NormalInitrd {
  readonly image: string | Uint8Array
  readonly cmdline: string
}

const moduleObject: Entry<InitrdImage, NormalInitrd, 'required'> = object('InitrdImage', moduleMembers, {
  finish: ({ image, cmdline }): NormalInitrd => ({
    image,
    cmdline: cmdline ?? (typeof image === 'string' ? image : ''),
  }),
  restore: module => module,
})

const modules = list(moduleObject)

const initrd = build<string | URL | Uint8Array | readonly InitrdImage[], readonly NormalInitrd[], null>(
  {
    takes:
      'the path of a file, a file: URL, its bytes as a Uint8Array, or a list of { image, cmdline } for multiboot modules',
    nested: { name: 'InitrdImage', members: moduleMembers },
    read: (value, path) => {
      if (Array.isArray(value)) return modules.read(value, path)
      return typeof value === 'string' || value instanceof URL || value instanceof Uint8Array
        ? [moduleObject.read({ image: value }, path)]
        : undefined
    },
    write: images => images,
  },
  { default: null, cli: '-initrd' },
)

export const bootMembers = {
  /**
   * The kernel: a bzImage, an ELF64 image with or without a PVH note, or an ELF32 image with a
   * multiboot-1 header. The path of a file, or its bytes. Required without {@linkcode firmware}.
   *
   * @default none
   */
  kernel: file({ default: null, cli: '-kernel' }),
  /**
   * Firmware, which starts if there is no kernel: an image of a multiple of 64 KiB up to 8 MiB. The
   * path of a file, or its bytes. The image is mapped so that it ends at 4 GiB, and is read-only for
   * the guest. Without a kernel, the first vCPU starts in it at the reset vector, and its last 256
   * KiB are also in RAM below 1 MiB. With a kernel, the first vCPU enters the kernel directly, and
   * the firmware does not run.
   *
   * @default none
   */
  firmware: file({ default: null, cli: '-bios' }),
  /**
   * The kernel's format. `auto` looks for a multiboot-1 header, a bzImage or a PVH note, and
   * refuses any other image except ELF64, which it loads as `linux`. `linux` enters a bzImage or a
   * vmlinux by Linux's 64-bit boot protocol. `flat` is never detected: the image is loaded at
   * 0x1000 and entered there in real mode.
   *
   * @default 'auto'
   */
  kernelFormat: choice(['auto', 'flat', 'linux', 'multiboot', 'pvh'], { default: 'auto' }),
  /**
   * The initial RAM disk, or the modules of a multiboot kernel. The path of a file, its bytes, or a
   * list of modules.
   *
   * @default none
   */
  initrd,
  /**
   * The kernel's command line.
   *
   * @default ''
   */
  append: text({ default: null, defaultText: "''", cli: '-append' }),
  /**
   * Adds the virtio devices to Linux's command line as `virtio_mmio.device=`, for kernels that do
   * not read ACPI's tables.
   *
   * @default true
   */
  autoKernelCmdline: boolean({ default: true, cli: '-machine auto-kernel-cmdline' }),
}

/** The options of the boot. */
export interface BootOptions extends OptionsOf<typeof bootMembers> {}

type Members = Pick<NormalOf<typeof bootMembers>, 'kernel' | 'firmware' | 'append' | 'initrd'>

/** The normal form of the boot options. */
export interface NormalBoot {
  readonly append: string
  readonly initrd: readonly NormalInitrd[]
}

/**
 * Checks that a kernel or firmware is given, and a kernel for the options that only a kernel uses.
 */
export function normalBoot({ kernel, firmware, append, initrd }: Members): NormalBoot {
  if (kernel === null) {
    const remedy = "Give 'kernel', for example Machine.create({ kernel: 'vmlinux' })."
    if (firmware === null)
      throw conflict('kernel', "it is missing, and so is 'firmware': expected at least one of them", remedy)
    if (append !== null) throw conflict('append', "it is given without 'kernel'", remedy)
    if (initrd !== null) throw conflict('initrd', "it is given without 'kernel'", remedy)
  }
  return { append: append ?? '', initrd: initrd ?? [] }
}
