//! For tests only: interposes between any program and the kernel's KVM ioctls, preloaded with `LD_PRELOAD`.
//!
//! It wraps `ioctl`, and `mmap` to find each vCPU's `kvm_run`. The variable `KVM_INTERPOSE` contains rules, separated
//! by semicolons. Without rules, every call is passed on unchanged.
//!
//! | rule | effect |
//! |---|---|
//! | `cap219` | the host has KVM_CAP_X86_NOTIFY_VMEXIT: KVM_CHECK_EXTENSION returns 1; KVM_ENABLE_CAP is validated like in Linux 6.1 and does not reach the kernel |
//! | `cap:NUMBER=VALUE` | KVM_CHECK_EXTENSION of that capability returns VALUE (0 hides it) |
//! | `answer:NAME=VALUE` | the call of that name (`KVM_GET_API_VERSION`, ...) returns VALUE and does not reach the kernel |
//! | `notify:KEY=N,...` | `count` (1) notify exits on vCPU `vcpu` (0) of every VM that has enabled capability 219. The first follows `after` (0) real exits of that vCPU, each further one `every` (0) real exits later. `flags` (0) is KVM's; 1 means an invalid context. With `port`, only I/O exits at that port count: this selects a place in the guest independently of its firmware |
//! | `buslock:KEY=N,...` | bus-lock exits of any vCPU, with the same keys. `cap:193=3` makes a program enable the capability, which every kernel accepts |
//! | `debug:KEY=N,...` | debug exits of any vCPU, with the same keys and `exception` (1), `pc`, `dr6` and `dr7` (0), in decimal |
//! | `fail:NAME,errno=E,...` | the call of that name (`KVM_CREATE_VM`, ..., or `mmap` of a vCPU) fails with errno `E` (a name) and does not reach the kernel. This applies to `times` (1) calls, beginning with call number `nth` (1). With `cap=N`, only KVM_CHECK_EXTENSION or KVM_ENABLE_CAP of that capability counts |
//! | `log=PATH` | appends a line of JSON for each call: `pid`, `ioctl`, `fd`, `result` (negative errno), `interposed`, and its arguments (`cap`, `flags`, `arg`, `id`, `vcpu`; `leaves` of KVM_SET_CPUID2 as `FUNCTION.INDEX.FLAGS:EAX,EBX,ECX,EDX` in hexadecimal). KVM_RUN is logged the first time on each vCPU and whenever its exit is interposed (`notify`: the flags) |
//!
//! Example: `cap219;notify:vcpu=1,after=3,flags=1;log=/tmp/calls`.
//!
//! **No exit is lost.** An interposed exit is returned instead of an entry, and does not replace a real exit. The entry first runs
//! with `immediate_exit` set to 2, so that the kernel completes the I/O of the previous exit. If this causes a real
//! exit (the next piece of a string instruction), the program gets that exit first. A kick, which writes 1, also takes
//! effect first.
//!
//! An invalid rule ends the process with status 2, because a test without rules would pass without testing anything.
//! After start-up, nothing here allocates or locks, so a program may call `ioctl` in any context.

mod config;
mod fds;
mod hooks;
mod log;
mod names;
mod notify;
mod run;
