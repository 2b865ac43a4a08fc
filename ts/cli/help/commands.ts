/** The commands of `kvm-accel`, for its help, the completion and the man page. */
export const commandTexts = {
  run: "Boots a guest. Takes QEMU's options.",
  doctor: 'Reports whether guests can run here, and what this host lacks.',
  completion: 'Prints the completion of a shell: bash, zsh or fish.',
} as const

/** The commands' own options. */
export const commandOptions: Readonly<Record<string, readonly { readonly name: string; readonly about: string }[]>> = {
  doctor: [{ name: '--json', about: 'Prints a JSON object.' }],
}
