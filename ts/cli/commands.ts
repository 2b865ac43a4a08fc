import { Argument, Command } from 'commander'
import { demo } from './demo/demo.js'
import { guestFor, guestList } from './demo/guests.js'
import { examine } from './doctor/doctor.js'
import { doctorText } from './doctor/doctor-text.js'
import { printError } from './messages.js'
import { commandOptions, commandTexts } from './help/commands.js'
import { completion, shells, type Shell } from './help/completion.js'
import { choosePaint } from './process/paint.js'
import { packageVersion } from './version.js'

const EXAMPLES = `
Examples:
  What can this package do?
    kvm-accel demo

  Can guests run here, and what does this host lack?
    kvm-accel doctor

  Boot a Linux kernel with its console on this terminal:
    kvm-accel run -m 256M -kernel vmlinux -initrd initrd.cpio -append console=ttyS0 -nographic -no-reboot

  Stop the machine when its guest keeps a CPU without an event window:
    kvm-accel run -accel kvm,notify-vmexit=internal-error -kernel vmlinux -serial stdio

  All options of run, which are QEMU's:
    kvm-accel run --help`

/** Runs `kvm-accel` with any command but `run`. Sets the exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('kvm-accel')
    .description("QEMU's KVM accelerator on /dev/kvm, notify VM exits included.")
    .version(packageVersion(), '-V, --version')
    .addHelpText('after', EXAMPLES)
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'kvm-accel: error: ')) })
    .showHelpAfterError("  'kvm-accel --help' shows the commands.")
  // ts/cli/kvm-accel.ts handles `run` before commander. This line adds it to the help.
  program.command('run').description(commandTexts.run).argument('[options...]').helpOption(false)
  program
    .command('demo')
    .description(commandTexts.demo)
    .action(() => demo(text => process.stdout.write(text), choosePaint(process.stdout, process.env)))
  program
    .command('guests')
    .description(commandTexts.guests)
    .argument('[name]')
    .action((name?: string) => {
      process.stdout.write(name === undefined ? guestList() : guestFor(name, process.stdout))
    })
  const doctor = program.command('doctor').description(commandTexts.doctor)
  for (const { name, about } of commandOptions['doctor'] ?? []) doctor.option(name, about)
  doctor.action(async ({ json }: { json?: boolean }) => {
    const report = await examine()
    const text = json
      ? `${JSON.stringify(report, null, 2)}\n`
      : doctorText(report, choosePaint(process.stdout, process.env))
    process.stdout.write(text)
    process.exitCode = report.ok ? 0 : 1
  })
  program
    .command('completion')
    .description(commandTexts.completion)
    .addArgument(new Argument('<shell>').choices(shells))
    .action((shell: Shell) => void process.stdout.write(completion(shell)))
  try {
    await program.parseAsync(argv)
  } catch (error) {
    printError(error)
    process.exitCode = 1
  }
}
