/** The commands of `kvm-accel`, for its help, the completion and the man page. */
export const commandTexts = {
  run: "Boots a guest. Takes QEMU's options.",
  demo: 'Boots embedded guests and shows what a program can do with them. Takes a second.',
  guests: 'Lists the embedded guests. With a name: writes the image of that guest to standard output.',
  doctor: 'Reports whether guests can run here, and what this host lacks.',
  completion: 'Prints the completion of a shell: bash, zsh or fish.',
} as const

/** The commands' arguments. */
export const commandArguments: Readonly<Record<keyof typeof commandTexts, string>> = {
  run: '[OPTION...]',
  demo: '',
  guests: '[NAME]',
  doctor: '[--json]',
  completion: 'SHELL',
}

/** The commands' own options. */
export const commandOptions: Readonly<Record<string, readonly { readonly name: string; readonly about: string }[]>> = {
  doctor: [{ name: '--json', about: 'Prints a JSON object.' }],
}
