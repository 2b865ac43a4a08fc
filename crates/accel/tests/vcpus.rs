//! Tests vCPU threads on a host that limits their number, and guests that sleep.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod support;

use kvm_accel::interrupts::{UserIrqchip, Wake};
use kvm_accel::properties::{KernelIrqchip, NotifyProperties};
use kvm_accel::{AccelProperties, Accelerator, Bus, Error, GuestRam, Request, StartMode, StartState, StopReason};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use support::{ENTRY, Guest, PATIENCE, RecordingBus, kvm};
use vm_memory::{Bytes, GuestAddress};

/// `jmp .`
const SPIN: &[u8] = &[0xeb, 0xfe];
/// Set in the process that [`in_a_separate_process`] starts.
const CHILD: &str = "KVM_ACCEL_TEST_CHILD";

fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap()
}

/// Runs the named test in a separate process, behind `prefix`, and expects it to pass there. Returns true in that process.
fn in_a_separate_process(test: &str, prefix: &[String]) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let (command, arguments) = prefix.split_first().unwrap();
    let mut child = Command::new(command);
    let this = std::env::current_exe().unwrap();
    child.args(arguments).arg(this).args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    let mut child = child.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > 2 * PATIENCE {
            child.kill().unwrap();
            panic!("{test} does not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn test_a_spinning_guest_stops_in_a_process_that_may_have_no_pending_signal() {
    let test = "test_a_spinning_guest_stops_in_a_process_that_may_have_no_pending_signal";
    if !kvm() || !in_a_separate_process(test, &words("prlimit --sigpending=0")) {
        return;
    }
    let guest = Guest::new(SPIN, NotifyProperties::default());
    for _ in 0..20 {
        guest.vcpus.resume();
        guest.vcpus.pause();
        assert_eq!(guest.stopped(), StopReason::Paused);
    }
    guest.vcpus.resume();
    drop(guest);
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Limits the number of threads of this process's user. The limit is permanent, because no process could start to lift it.
fn limit_threads(limit: usize) {
    let this = std::process::id().to_string();
    let status = Command::new("prlimit").args(["--pid", &this, &format!("--nproc={limit}:")]).status().unwrap();
    assert!(status.success());
}

#[test]
fn test_a_failed_thread_start_is_an_error_without_leaks() {
    let test = "test_a_failed_thread_start_is_an_error_without_leaks";
    const ALLOWED: &str = "KVM_ACCEL_TEST_ALLOWED";
    if !kvm() {
        return;
    }
    if std::env::var_os(CHILD).is_none() {
        let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        for allowed in 0..3 {
            let mut prefix = format!("env {ALLOWED}={allowed}");
            if root {
                // The limit applies to a user, but not to root. A user without other processes keeps the right to open /dev/kvm.
                let user = 100_000 + std::process::id();
                prefix.push_str(&format!(" setpriv --reuid={user} --clear-groups"));
                prefix.push_str(" --inh-caps=+dac_override --ambient-caps=+dac_override");
            }
            assert!(!in_a_separate_process(test, &words(&prefix)));
        }
        return;
    }
    let allowed: usize = std::env::var(ALLOWED).unwrap().parse().unwrap();
    let launch = |accel: &Accelerator| {
        let start = StartState { mode: StartMode::Real, rip: ENTRY, rax: 0, rbx: 0, rsi: 0, rsp: 0x800 };
        let (sender, _) = std::sync::mpsc::channel();
        accel.launch(&start, Arc::new(RecordingBus::default()), support::sink(sender))
    };
    let accelerator = || Accelerator::new(AccelProperties::default(), 4, ram()).unwrap();
    // The first machine of a process opens resources that the process keeps.
    drop(launch(&accelerator()).unwrap());
    let accel = accelerator();
    let before = (threads(), descriptors());
    limit_threads(before.0 + allowed);
    let failed = launch(&accel).unwrap_err();
    assert!(matches!(failed, Error::Thread { errno: libc::EAGAIN, .. }), "{failed}");
    // The kernel lists a joined thread for a short time.
    let start = Instant::now();
    while (threads(), descriptors()) != before && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!((threads(), descriptors()), before);
}

/// `out 0x65, al; out 0x11, al; jmp .`
const SLEEP: &[u8] = &[0xe6, 0x65, 0xe6, 0x11, 0xeb, 0xfe];

#[test]
fn test_a_pause_leaves_a_guest_asleep_and_the_event_wakes_it() {
    if !kvm() {
        return;
    }
    let guest = Guest::new(SLEEP, NotifyProperties::default());
    guest.vcpus.resume();
    guest.wait_for_accesses(1);
    for _ in 0..20 {
        guest.vcpus.pause();
        assert_eq!(guest.stopped(), StopReason::Paused);
        assert!(guest.bus.asleep());
        guest.vcpus.resume();
    }
    assert_eq!(guest.vcpus.unparked().iter().map(|vcpu| vcpu.vcpu).collect::<Vec<_>>(), [0], "asleep is not parked");
    guest.bus.wake();
    assert_eq!(guest.stopped(), StopReason::Guest(Request::Wake));
    assert_eq!(guest.bus.accesses.lock().unwrap().len(), 1, "no access follows the one that requested sleep");
    // The machine decides the state of a guest that wakes up. Without a reset the guest continues after the access.
    assert_eq!(guest.vcpus.state(0).unwrap().registers.rip, ENTRY + 2);
    guest.vcpus.resume();
    guest.wait_for_accesses(2);
}

#[test]
fn test_an_event_during_a_pause_wakes_the_guest_when_it_is_resumed() {
    if !kvm() {
        return;
    }
    let guest = Guest::new(SLEEP, NotifyProperties::default());
    guest.vcpus.resume();
    guest.wait_for_accesses(1);
    guest.vcpus.pause();
    assert_eq!(guest.stopped(), StopReason::Paused);
    guest.bus.wake();
    // The registers of a sleeping vCPU can be read and written like those of a stopped one.
    let state = guest.vcpus.state(0).unwrap();
    guest.vcpus.set_state(0, state, kvm_accel::state::Level::Runtime).unwrap();
    guest.vcpus.resume();
    assert_eq!(guest.stopped(), StopReason::Guest(Request::Wake));
}

#[test]
fn test_a_reset_ends_sleep() {
    if !kvm() {
        return;
    }
    let guest = Guest::new(SLEEP, NotifyProperties::default());
    for round in 1..=3 {
        guest.vcpus.resume();
        guest.wait_for_accesses(round);
        guest.vcpus.pause();
        assert_eq!(guest.stopped(), StopReason::Paused);
        guest.vcpus.reset().unwrap();
    }
    guest.vcpus.resume();
    guest.wait_for_accesses(4);
}

#[test]
fn test_a_step_of_another_vcpu_leaves_the_guest_asleep() {
    if !kvm() {
        return;
    }
    let guest = Guest::with(AccelProperties::default(), 2, ram(), SLEEP);
    guest.vcpus.resume();
    guest.wait_for_accesses(1);
    guest.vcpus.pause();
    assert_eq!(guest.stopped(), StopReason::Paused);
    // nop; nop
    vm_memory::Bytes::write_slice(&*guest.ram, &[0x90, 0x90], GuestAddress(0x2000)).unwrap();
    guest.start(1, 0x2000);
    guest.vcpus.prepare_step(1).unwrap();
    guest.vcpus.resume_only(1);
    let StopReason::Debug(stop) = guest.stopped() else { panic!("not a step") };
    assert_eq!((stop.vcpu, stop.rip), (1, 0x2001));
    assert!(guest.bus.asleep());
    // A step of the sleeping vCPU waits for its event. A pause ends the wait.
    guest.vcpus.prepare_step(0).unwrap();
    guest.vcpus.resume_only(0);
    guest.vcpus.pause();
    assert_eq!(guest.stopped(), StopReason::Paused);
    guest.vcpus.prepare_step(0).unwrap();
    guest.vcpus.resume_only(0);
    guest.bus.wake();
    assert_eq!(guest.stopped(), StopReason::Guest(Request::Wake));
}

#[test]
fn test_a_machine_ends_while_its_guest_sleeps() {
    if !kvm() {
        return;
    }
    let guest = Guest::new(SLEEP, NotifyProperties::default());
    guest.vcpus.resume();
    guest.wait_for_accesses(1);
    drop(guest);
}

/// A PIC that raises one interrupt at the `raise_at`-th query of the vCPU thread for a pending interrupt.
struct LatePic {
    raise_at: usize,
    asked: AtomicUsize,
    pending: AtomicBool,
    wake: OnceLock<Wake>,
}

impl UserIrqchip for LatePic {
    fn attach(&self, wake: Wake) {
        let _ = self.wake.set(wake);
    }

    fn pending(&self) -> bool {
        if self.asked.fetch_add(1, SeqCst) + 1 == self.raise_at {
            self.pending.store(true, SeqCst);
            self.wake.get().unwrap()();
        }
        self.pending.load(SeqCst)
    }

    fn acknowledge(&self) -> u8 {
        self.pending.store(false, SeqCst);
        0x20
    }

    fn end_of_interrupt(&self, _: u8) {}
}

/// `sti; hlt; jmp .-1`, then the handler of interrupt 0x20: `out 0x10, al; iret`
const HALT: &[u8] = &[0xfb, 0xf4, 0xeb, 0xfd, 0xe6, 0x10, 0xcf];

#[test]
fn test_an_interrupt_wakes_a_halted_vcpu_whenever_the_pic_raises_it() {
    if !kvm() {
        return;
    }
    // Two queries before the first entry, three after `hlt`.
    for raise_at in 1..=5 {
        let ram = ram();
        let handler = u32::try_from(ENTRY + 4).unwrap();
        ram.write_slice(&handler.to_le_bytes(), GuestAddress(4 * 0x20)).unwrap();
        let properties = AccelProperties { kernel_irqchip: KernelIrqchip::Off, ..Default::default() };
        let mut accel = Accelerator::new(properties, 1, ram.clone()).unwrap();
        let (asked, pending, wake) = Default::default();
        accel.set_user_irqchip(Arc::new(LatePic { raise_at, asked, pending, wake }));
        let guest = Guest::on(accel, ram, HALT);
        guest.vcpus.resume();
        guest.wait_for_accesses(1);
    }
}

#[test]
fn test_another_thread_ends_a_machine() {
    if !kvm() {
        return;
    }
    let mut guest = Guest::new(SPIN, NotifyProperties::default());
    let ender = guest.vcpus.ender();
    guest.vcpus.resume();
    std::thread::spawn(move || ender.end()).join().unwrap();
    assert_eq!(guest.vcpus.state(0).unwrap_err(), Error::Ended);
    assert_eq!(guest.vcpus.reset().unwrap_err(), Error::Ended);
    guest.vcpus.end();
}
