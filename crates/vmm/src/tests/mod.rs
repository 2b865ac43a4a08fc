//! Tests the control thread with a machine without KVM. For any sequence of commands, every command gets exactly one reply, the events
//! report the actual state, and no command that needs stopped vCPUs is executed while they run.
//!
//! With `--features shuttle`, the same code runs under a scheduler that explores thread interleavings.

#[cfg(not(feature = "shuttle"))]
mod threads;

use crate::sync::{Condvar, Mutex, lock, thread};
use crate::{
    Built, Command, DeviceClaim, Event, Failure, Machine, Message, Outbox, Policy, Reply, RunState, Sender, Vmm,
};
use kvm_accel::cancel::Cancel;
use kvm_accel::debug::{DebugCause, DebugReason, DebugStop};
use kvm_accel::trace::Trace;
use kvm_accel::vcpu::NotifyStatus;
use kvm_accel::{EventSink, Fault, FaultKind, Request, StopReason};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Instant;

/// What a guest does the next time it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    /// Runs until it is stopped.
    Spin,
    Reset,
    Wake,
    Shutdown,
    Panic,
    DebugExit,
    Breakpoint,
    Fail,
}

const BEHAVIOURS: [Behaviour; 8] = [
    Behaviour::Spin,
    Behaviour::Reset,
    Behaviour::Wake,
    Behaviour::Shutdown,
    Behaviour::Panic,
    Behaviour::DebugExit,
    Behaviour::Breakpoint,
    Behaviour::Fail,
];

impl Behaviour {
    fn reason(self) -> Option<StopReason> {
        Some(match self {
            Self::Spin => return None,
            Self::Reset => StopReason::Guest(Request::Reset),
            Self::Wake => StopReason::Guest(Request::Wake),
            Self::Shutdown => StopReason::Guest(Request::Shutdown),
            Self::Panic => StopReason::Guest(Request::Panic),
            Self::DebugExit => StopReason::Guest(Request::DebugExit { value: 3 }),
            Self::Breakpoint => StopReason::Debug(DebugStop {
                vcpu: 0,
                cause: DebugCause { reason: DebugReason::Step, address: 0 },
                rip: 0,
            }),
            Self::Fail => StopReason::Fault(Fault {
                vcpu: 0,
                kind: FaultKind::Exit,
                message: "failed".into(),
                report: "RIP".into(),
            }),
        })
    }
}

#[derive(Default)]
struct Vcpu {
    running: bool,
    /// The machine has asked the guest to stop.
    asked: bool,
    quit: bool,
    /// The guest's behaviours; the last element comes first. The guest spins when the script is empty.
    script: Vec<Behaviour>,
    /// Number of instructions that the guest has executed.
    executed: u64,
}

/// One vCPU and the thread that runs it.
struct Guest {
    vcpu: Mutex<Vcpu>,
    changed: Condvar,
}

impl Guest {
    fn run(&self, sender: &Sender) {
        let mut vcpu = lock(&self.vcpu);
        loop {
            while !vcpu.running && !vcpu.quit {
                vcpu = self.changed.wait(vcpu).unwrap_or_else(PoisonError::into_inner);
            }
            if vcpu.quit {
                return;
            }
            vcpu.executed += 1;
            let own = vcpu.script.pop().and_then(Behaviour::reason);
            let reason = match own {
                Some(reason) => reason,
                None => {
                    while !vcpu.asked && !vcpu.quit {
                        vcpu = self.changed.wait(vcpu).unwrap_or_else(PoisonError::into_inner);
                    }
                    if vcpu.quit {
                        return;
                    }
                    StopReason::Paused
                }
            };
            vcpu.running = false;
            vcpu.asked = false;
            // The accelerator emits the stop, too, under the lock that `pause()` takes.
            sender.emit(kvm_accel::Event::Stopped(reason));
        }
    }
}

struct Fake {
    guest: Arc<Guest>,
    thread: Option<thread::JoinHandle<()>>,
    /// `reset()` fails.
    broken: bool,
}

impl Fake {
    fn stopped(&self) -> u64 {
        let vcpu = lock(&self.guest.vcpu);
        assert!(!vcpu.running, "done to a machine whose vCPU runs");
        vcpu.executed
    }

    fn enter(&self) {
        let mut vcpu = lock(&self.guest.vcpu);
        assert!(!vcpu.running, "resumed twice");
        vcpu.running = true;
        vcpu.asked = false;
        drop(vcpu);
        self.guest.changed.notify_all();
    }
}

impl Machine for Fake {
    fn resume(&self) {
        self.enter();
    }

    fn prepare_step(&self, _vcpu: u32) -> Result<(), Failure> {
        self.stopped();
        lock(&self.guest.vcpu).script.push(Behaviour::Breakpoint);
        Ok(())
    }

    fn resume_only(&self, _vcpu: u32) {
        self.enter();
    }

    fn pause(&self) {
        let mut vcpu = lock(&self.guest.vcpu);
        vcpu.asked = vcpu.running;
        drop(vcpu);
        self.guest.changed.notify_all();
    }

    fn running_vcpus(&self) -> Vec<usize> {
        if lock(&self.guest.vcpu).running { vec![0] } else { Vec::new() }
    }

    fn quiesce(&self, _deadline: Instant) -> Result<(), Failure> {
        self.stopped();
        Ok(())
    }

    fn reset(&mut self, _cancel: &Cancel) -> Result<(), Failure> {
        self.stopped();
        if self.broken { Err(Failure::internal("the reset", "it is broken")) } else { Ok(()) }
    }

    fn wake(&mut self, _cancel: &Cancel) -> Result<(), Failure> {
        self.stopped();
        Ok(())
    }

    fn perform(&mut self, command: Command, _cancel: &Cancel) -> Result<Reply, Failure> {
        Ok(match command {
            Command::InjectNotify { .. } => Reply::Injected(true),
            Command::InjectNmi | Command::TakeDirtyPages => Reply::Done,
            // Reports the number of instructions that the guest has executed.
            _ => Reply::DirtyTotals(vec![self.stopped()]),
        })
    }

    fn end(&mut self) {
        lock(&self.guest.vcpu).quit = true;
        self.guest.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[derive(Clone, Debug)]
struct Plan {
    policy: Policy,
    script: Vec<Behaviour>,
    commands: Vec<(Command, bool)>,
    broken: bool,
}

fn machine(plan: &Plan) -> (Vmm, Arc<Outbox>) {
    let (outbox, _wake) = Outbox::new().unwrap();
    let outbox = Arc::new(outbox);
    let Plan { policy, script, broken, .. } = plan.clone();
    let vmm = Vmm::spawn(Trace::new(|| {}), &outbox, move |sender, _cancel| {
        let guest = Arc::new(Guest { vcpu: Mutex::new(Vcpu { script, ..Vcpu::default() }), changed: Condvar::new() });
        let thread = {
            let (guest, sender) = (Arc::clone(&guest), sender.clone());
            thread::spawn(move || guest.run(&sender))
        };
        let notify = NotifyStatus { supported: false, enabled: false };
        let reply = Reply::Created { notify, debug: true };
        Ok(Built { machine: Fake { guest, thread: Some(thread), broken }, policy, reply, warnings: Vec::new() })
    });
    (vmm.unwrap(), outbox)
}

/// Returns all messages up to and including the last one.
fn collect(outbox: &Outbox) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.last() != Some(&Message::Event(Event::Closed)) {
        let taken = outbox.take();
        if taken.is_empty() {
            thread::yield_now();
        }
        messages.extend(taken);
    }
    messages
}

/// Follows the events of a machine like a caller does, and checks them against each other and against the replies.
fn check(plan: &Plan, sent: &BTreeMap<u32, (Command, bool)>, messages: &[Message]) {
    let mut state = RunState::Prelaunch;
    let mut replies = BTreeMap::new();
    let mut executed = None;
    for message in messages {
        match message {
            Message::Event(Event::Resume) => {
                assert_ne!(state, RunState::Running, "resumed twice: {plan:?}");
                state = RunState::Running;
                executed = None;
            }
            Message::Event(Event::Stop { state: next, .. }) => {
                assert_ne!(*next, RunState::Running, "{plan:?}");
                state = *next;
            }
            Message::Event(Event::Reset { state: next, guest }) => {
                assert!(!guest || *next == RunState::Running, "{plan:?}");
                state = *next;
            }
            Message::Event(Event::Shutdown { .. }) => state = RunState::Shutdown,
            Message::Reply { id, result } => {
                assert!(replies.insert(*id, result).is_none(), "answered twice: {plan:?}");
                // The reply to a nested pause precedes its effect.
                match (sent.get(id).filter(|(_, nested)| !nested).map(|(command, _)| command), result) {
                    (Some(Command::Pause | Command::Step { .. }), Ok(_)) => {
                        assert_ne!(state, RunState::Running, "{plan:?}");
                    }
                    (Some(Command::Start | Command::Resume), Ok(_)) => assert_eq!(state, RunState::Running, "{plan:?}"),
                    // A stopped guest executes no instruction.
                    (_, Ok(Reply::DirtyTotals(total))) => {
                        assert_ne!(state, RunState::Running, "{plan:?}");
                        assert!(executed.as_ref().is_none_or(|before| before == total), "{plan:?}");
                        executed = Some(total.clone());
                    }
                    (Some(command), Err(failure)) if failure.code == "ERR_MACHINE_STATE" => {
                        // A refusal reports the state in which the command was refused, unless the machine has ended.
                        let refused = failure.state;
                        assert!(
                            refused == Some(state) || failure.allowed.is_empty(),
                            "{command:?} {failure:?} {plan:?}"
                        );
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    assert_eq!(state, RunState::Shutdown, "{plan:?}");
    let answered: Vec<_> = replies.into_keys().collect();
    let expected: Vec<_> = std::iter::once(0).chain(sent.keys().copied()).collect();
    assert_eq!(answered, expected, "{plan:?}");
}

/// Sends all commands, yields at some of them, and ends the machine.
fn drive(plan: &Plan, mut pause_before: impl FnMut(usize) -> bool) {
    let (vmm, outbox) = machine(plan);
    let mut sent = BTreeMap::new();
    for (at, (command, nested)) in plan.commands.iter().enumerate() {
        if pause_before(at) {
            thread::yield_now();
        }
        if let Some(id) = vmm.send(command.clone(), *nested) {
            sent.insert(id, (command.clone(), *nested));
        }
    }
    vmm.end();
    check(plan, &sent, &collect(&outbox));
    assert_eq!(vmm.send(Command::Start, false), None);
}

fn command(choice: u32) -> Command {
    match choice % 12 {
        0 => Command::Start,
        1 | 2 => Command::Resume,
        3 | 4 => Command::Pause,
        5 => Command::Reset,
        6 => Command::Step { vcpu: 0 },
        7 => Command::InjectNmi,
        8 => Command::InjectNotify { vcpu: 0, context_invalid: false },
        9 => Command::ReadMemory { vcpu: None, address: 0, length: 1 },
        10 => Command::TakeDirtyPages,
        _ => Command::AddDevice(DeviceClaim { name: "d".into(), pio: true, base: 0, len: 1, irq: None, worker: false }),
    }
}

/// Builds a plan from numbers that `choose` returns.
fn plan(mut choose: impl FnMut(u32) -> u32) -> Plan {
    let script = (0..choose(8)).map(|_| BEHAVIOURS[choose(8) as usize]).collect();
    let commands = (0..choose(16)).map(|_| (command(choose(12)), choose(8) == 0)).collect();
    let policy = Policy { no_reboot: choose(4) == 0, no_shutdown: choose(2) == 0 };
    Plan { policy, script, commands, broken: choose(8) == 0 }
}

#[cfg(feature = "shuttle")]
#[test]
fn the_state_that_is_reported_is_the_state_that_is_in_every_interleaving() {
    use shuttle::rand::Rng;
    let iterations = std::env::var("KVM_ACCEL_SHUTTLE").ok().and_then(|count| count.parse().ok()).unwrap_or(5_000);
    shuttle::check_random(
        || {
            let mut random = shuttle::rand::thread_rng();
            let plan = plan(|most| random.gen_range(0..most));
            drive(&plan, |_| random.gen_range(0..3) == 0);
        },
        iterations,
    );
}
