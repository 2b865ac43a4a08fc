/** All run states. */
export const runStates = [
  'prelaunch',
  'running',
  'paused',
  'debug',
  'guest-panicked',
  'internal-error',
  'shutdown',
] as const

/**
 * The run states of a machine, by QEMU's names:
 * - `prelaunch`: created or reset, and not started;
 * - `running`: the vCPUs run;
 * - `paused`: stopped by {@link Machine.pause};
 * - `debug`: at a breakpoint or a watchpoint, or after a step;
 * - `guest-panicked`: the guest's kernel reported a panic to `pvpanic`, under `noShutdown`;
 * - `internal-error`: a vCPU exited for a reason that the accelerator cannot handle, or by a notify
 *   exit under `internal-error`;
 * - `shutdown`: the guest shut down, or the machine was stopped.
 *
 * | operation | allowed in | leads to |
 * |---|---|---|
 * | addDevice | prelaunch | prelaunch |
 * | start | prelaunch | running |
 * | resume | prelaunch, paused, debug, guest-panicked | running |
 * | debug.step | prelaunch, paused, debug, guest-panicked | running |
 * | pause | running | paused |
 * | injectNmi | prelaunch, running, paused, debug | the same |
 * | injectNotify | running | running |
 * | vcpu.state, vcpu.setState, debug.* | all but running | the same |
 * | reset | any | running stays running, any other becomes prelaunch |
 * | stop | any | shutdown |
 *
 * As QEMU's `cont`, resume fails in internal-error and shutdown: reset the machine first. The
 * native control thread of each machine owns the run state and the table; {@link Machine.state}
 * mirrors it from events.
 */
export type RunState = (typeof runStates)[number]
