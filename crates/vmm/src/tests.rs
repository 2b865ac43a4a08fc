//! Tests the control thread with a machine without KVM. For any sequence of commands, every command gets exactly one reply, the events
//! report the actual state, and no command that needs stopped vCPUs is executed while they run.
//!
//! With `--features shuttle`, the same code runs under a scheduler that explores thread interleavings.

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

#[cfg(not(feature = "shuttle"))]
mod threads {
    use super::*;
    use crate::{ExitReason, Operation};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn the_state_that_is_reported_is_the_state_that_is(numbers in prop::collection::vec(any::<u32>(), 64), seed: u64) {
            let mut numbers = numbers.into_iter().cycle();
            let plan = plan(|most| numbers.next().unwrap_or(0) % most);
            drive(&plan, |at| seed >> (at % 64) & 1 != 0);
        }
    }

    fn run(plan: &Plan) -> Vec<Message> {
        let (vmm, outbox) = machine(plan);
        for (command, nested) in &plan.commands {
            vmm.send(command.clone(), *nested).unwrap();
        }
        let mut messages = Vec::new();
        let replies = |messages: &[Message]| messages.iter().filter(|m| matches!(m, Message::Reply { .. })).count();
        while replies(&messages) <= plan.commands.len() {
            messages.extend(outbox.take());
            thread::yield_now();
        }
        vmm.end();
        messages
    }

    fn commands(commands: impl IntoIterator<Item = Command>) -> Plan {
        Plan {
            policy: Policy::default(),
            script: Vec::new(),
            commands: commands.into_iter().map(|command| (command, false)).collect(),
            broken: false,
        }
    }

    fn reply(id: u32, reply: Reply) -> Message {
        Message::Reply { id, result: Ok(reply) }
    }

    /// A machine whose behaviour a test chooses. Its vCPUs never stop by themselves.
    struct Scripted {
        pause: Box<dyn Fn() + Send>,
        quiesce: Box<dyn Fn() -> Result<(), Failure> + Send>,
        perform: Box<dyn Fn() -> Reply + Send>,
    }

    impl Default for Scripted {
        fn default() -> Self {
            Self { pause: Box::new(|| {}), quiesce: Box::new(|| Ok(())), perform: Box::new(|| Reply::Done) }
        }
    }

    impl Machine for Scripted {
        fn resume(&self) {}
        fn prepare_step(&self, _: u32) -> Result<(), Failure> {
            Ok(())
        }
        fn resume_only(&self, _: u32) {}
        fn pause(&self) {
            (self.pause)();
        }
        fn running_vcpus(&self) -> Vec<usize> {
            vec![0]
        }
        fn quiesce(&self, _: Instant) -> Result<(), Failure> {
            (self.quiesce)()
        }
        fn reset(&mut self, _: &Cancel) -> Result<(), Failure> {
            Ok(())
        }
        fn wake(&mut self, _: &Cancel) -> Result<(), Failure> {
            Ok(())
        }
        fn perform(&mut self, _: Command, _: &Cancel) -> Result<Reply, Failure> {
            Ok((self.perform)())
        }
        fn end(&mut self) {}
    }

    fn built(machine: Scripted) -> Built<Scripted> {
        Built { machine, policy: Policy::default(), reply: Reply::Done, warnings: Vec::new() }
    }

    #[test]
    fn a_vcpu_that_does_not_stop_is_named_in_a_warning_and_kicked_again() {
        let (outbox, _wake) = Outbox::new().unwrap();
        let outbox = Arc::new(outbox);
        let vmm = Vmm::spawn(Trace::new(|| {}), &outbox, |sender, _| {
            let (sender, kicks) = (sender.clone(), std::sync::atomic::AtomicU32::new(0));
            // The first kick is lost, the second one stops the vCPUs.
            let pause = move || {
                if kicks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 1 {
                    sender.emit(kvm_accel::Event::Stopped(StopReason::Paused));
                }
            };
            Ok(built(Scripted { pause: Box::new(pause), ..Scripted::default() }))
        })
        .unwrap();
        vmm.send(Command::Start, false).unwrap();
        let pause = vmm.send(Command::Pause, false).unwrap();
        let mut messages = Vec::new();
        while !messages.contains(&reply(pause, Reply::Done)) {
            messages.extend(outbox.take());
            thread::sleep(std::time::Duration::from_millis(1));
        }
        let warnings = messages.iter().filter_map(|message| match message {
            Message::Event(Event::Warning(warning)) => Some(warning.message.as_str()),
            _ => None,
        });
        let warnings: Vec<_> = warnings.collect();
        assert_eq!(warnings.len(), 1, "{messages:?}");
        assert!(warnings[0].starts_with("vCPU 0 has not stopped for 5 seconds."), "{warnings:?}");
    }

    fn paused() -> Message {
        Message::Event(Event::Stop { state: RunState::Paused, exit: None })
    }

    fn reset(guest: bool, state: RunState) -> Message {
        Message::Event(Event::Reset { guest, state })
    }

    #[test]
    fn a_pause_that_follows_a_reset_stops_the_guest_that_was_reset() {
        let messages = run(&commands([Command::Start, Command::Reset, Command::Pause]));
        let expected = [
            Message::Event(Event::Resume),
            reply(1, Reply::Done),
            reset(false, RunState::Running),
            reply(2, Reply::Done),
            paused(),
            reply(3, Reply::Done),
        ];
        assert_eq!(messages[1..], expected);
    }

    #[test]
    fn a_reset_that_follows_a_pause_is_done() {
        let messages = run(&commands([Command::Start, Command::Pause, Command::Reset]));
        let expected = [paused(), reply(2, Reply::Done), reset(false, RunState::Prelaunch), reply(3, Reply::Done)];
        assert_eq!(messages[3..], expected);
    }

    #[test]
    fn a_guest_that_resets_itself_while_it_is_paused_is_reset_and_paused() {
        let plan = Plan { script: vec![Behaviour::Reset], ..commands([Command::Start, Command::Pause]) };
        let messages = run(&plan);
        assert!(messages.contains(&reset(true, RunState::Running)));
        assert_eq!(messages[messages.len() - 2..], [paused(), reply(2, Reply::Done)]);
    }

    #[test]
    fn a_guest_that_shuts_down_ends_its_machine_and_refuses_what_follows() {
        let plan = Plan { script: vec![Behaviour::Shutdown], ..commands([Command::Start]) };
        let (vmm, outbox) = machine(&plan);
        vmm.send(Command::Start, false).unwrap();
        let messages = collect(&outbox);
        let exit = ExitReason::GuestShutdown.into();
        let expected = [
            Message::Event(Event::Stop { state: RunState::Shutdown, exit: Some(exit) }),
            Message::Event(Event::Shutdown {
                reason: ExitReason::GuestShutdown,
                exit: ExitReason::GuestShutdown.into(),
            }),
            Message::Event(Event::Closed),
        ];
        assert_eq!(messages[messages.len() - 3..], expected);
        assert_eq!(vmm.send(Command::Pause, false), None);
    }

    #[test]
    fn a_nested_command_is_answered_while_the_machine_waits_for_its_vcpu_to_stop() {
        // The vCPU waits for a caller that sends commands. It stops when the caller has received the replies.
        let (outbox, _wake) = Outbox::new().unwrap();
        let outbox = Arc::new(outbox);
        let answered = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = Arc::clone(&answered);
        let vmm = Vmm::spawn(Trace::new(|| {}), &outbox, move |sender, _| {
            let sender = sender.clone();
            let pause = move || {
                let (sender, answered) = (sender.clone(), Arc::clone(&theirs));
                thread::spawn(move || {
                    let mut done = lock(&answered.0);
                    while !*done {
                        done = answered.1.wait(done).unwrap_or_else(PoisonError::into_inner);
                    }
                    sender.emit(kvm_accel::Event::Stopped(StopReason::Paused));
                });
            };
            Ok(built(Scripted { pause: Box::new(pause), ..Scripted::default() }))
        })
        .unwrap();
        vmm.send(Command::Start, false).unwrap();
        let mut messages = Vec::new();
        while !messages.contains(&reply(1, Reply::Done)) {
            messages.extend(outbox.take());
            thread::yield_now();
        }
        vmm.send(Command::Pause, false).unwrap();
        vmm.send(Command::TakeDirtyPages, false).unwrap();
        let nmi = vmm.send(Command::InjectNmi, true).unwrap();
        let state = vmm.send(Command::VcpuState { vcpu: 0, to_change: false }, true).unwrap();
        while !messages.iter().any(|message| matches!(message, Message::Reply { id, .. } if *id == state)) {
            messages.extend(outbox.take());
            thread::yield_now();
        }
        assert!(messages.contains(&reply(nmi, Reply::Done)));
        let refused = RunState::Running.check(Operation::VcpuState).unwrap_err();
        assert_eq!(messages.last(), Some(&Message::Reply { id: state, result: Err(refused) }));
        *lock(&answered.0) = true;
        answered.1.notify_all();
        while !messages.contains(&reply(3, Reply::Done)) {
            messages.extend(outbox.take());
            thread::yield_now();
        }
        assert_eq!(messages[messages.len() - 3..], [paused(), reply(2, Reply::Done), reply(3, Reply::Done)]);
    }

    #[test]
    fn a_pause_that_the_end_interrupts_is_done_also_while_a_device_is_busy() {
        let (outbox, _wake) = Outbox::new().unwrap();
        let outbox = Arc::new(outbox);
        let (asked, quiesces) = std::sync::mpsc::channel();
        let vmm = Vmm::spawn(Trace::new(|| {}), &outbox, move |sender, _| {
            let sender = sender.clone();
            let pause = move || sender.emit(kvm_accel::Event::Stopped(StopReason::Paused));
            // The devices never become quiescent.
            let quiesce = move || {
                let _ = asked.send(());
                Err(Failure::internal("the disk", "it is busy"))
            };
            Ok(built(Scripted { pause: Box::new(pause), quiesce: Box::new(quiesce), ..Scripted::default() }))
        })
        .unwrap();
        vmm.send(Command::Start, false).unwrap();
        let pause = vmm.send(Command::Pause, false).unwrap();
        quiesces.recv().unwrap();
        vmm.end();
        let messages = collect(&outbox);
        assert_eq!(messages[messages.len() - 2..], [reply(pause, Reply::Done), Message::Event(Event::Closed)]);
    }

    #[test]
    fn a_nested_pause_is_answered_when_the_vcpus_have_been_asked_to_stop() {
        let (outbox, _wake) = Outbox::new().unwrap();
        let outbox = Arc::new(outbox);
        let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let senders = Arc::new(Mutex::new(None));
        let (count, place) = (Arc::clone(&asked), Arc::clone(&senders));
        let vmm = Vmm::spawn(Trace::new(|| {}), &outbox, move |sender, _| {
            *lock(&place) = Some(sender.clone());
            let pause = move || {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            };
            Ok(built(Scripted { pause: Box::new(pause), ..Scripted::default() }))
        })
        .unwrap();
        let mut messages = Vec::new();
        let mut answered = |id: u32| {
            while !messages.contains(&reply(id, Reply::Done)) {
                messages.extend(outbox.take());
                thread::yield_now();
            }
        };
        let start = vmm.send(Command::Start, false).unwrap();
        answered(start);
        // The vCPU waits for this caller and has not stopped.
        let pause = vmm.send(Command::Pause, true).unwrap();
        answered(pause);
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
        // The same holds for another pause and a reset: their work is executed when the vCPU has stopped.
        let [again, reset] = [Command::Pause, Command::Reset].map(|command| vmm.send(command, true).unwrap());
        answered(again);
        answered(reset);
        let sender = lock(&senders).take().unwrap();
        sender.emit(kvm_accel::Event::Stopped(StopReason::Paused));
        let done = vmm.send(Command::TakeDirtyPages, false).unwrap();
        answered(done);
        let events: Vec<_> = messages.iter().filter(|message| matches!(message, Message::Event(_))).collect();
        let expected = [Message::Event(Event::Resume), paused(), super::threads::reset(false, RunState::Prelaunch)];
        assert_eq!(events, expected.iter().collect::<Vec<_>>());
        let replies = messages.iter().filter(|message| matches!(message, Message::Reply { .. })).count();
        assert_eq!(replies, 6, "each command is answered once: {messages:?}");
    }

    #[test]
    fn a_machine_that_cannot_be_created_says_why_and_is_closed() {
        let (outbox, _wake) = Outbox::new().unwrap();
        let outbox = Arc::new(outbox);
        let failure = Failure::internal("the test", "on purpose");
        let theirs = failure.clone();
        let vmm = Vmm::spawn::<Fake, _>(Trace::new(|| {}), &outbox, |_, _| Err(theirs)).unwrap();
        let messages = collect(&outbox);
        assert_eq!(messages, [Message::Reply { id: 0, result: Err(failure) }, Message::Event(Event::Closed)]);
        assert!(vmm.end_and_wait(std::time::Duration::from_secs(60)));
    }

    #[test]
    fn a_panic_in_a_command_is_its_error_and_ends_the_machine() {
        let (outbox, _wake) = Outbox::new().unwrap();
        let outbox = Arc::new(outbox);
        let vmm = Vmm::spawn(Trace::new(|| {}), &outbox, |_, _| {
            Ok(built(Scripted { perform: Box::new(|| panic!("on purpose")), ..Scripted::default() }))
        })
        .unwrap();
        vmm.send(Command::InjectNmi, false).unwrap();
        let messages = collect(&outbox);
        let Message::Reply { id: 1, result: Err(failure) } = &messages[1] else { panic!("{messages:?}") };
        assert_eq!(failure.message, "the control thread failed inside kvm-accel: on purpose");
        assert!(matches!(messages[2], Message::Event(Event::Stop { state: RunState::InternalError, .. })));
    }

    #[test]
    fn commands_replies_and_events_survive_serialisation() {
        let state = kvm_accel::VcpuState { xsave: vec![1, 2, 3], ..Default::default() };
        let command = Command::SetVcpuState { vcpu: 1, state: Box::new(state) };
        let text = serde_json::to_string(&command).unwrap();
        assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), command);
        let messages = [
            Message::Reply { id: 7, result: RunState::Paused.check(Operation::Start).map(|()| Reply::Done) },
            Message::Event(Event::Stop {
                state: RunState::InternalError,
                exit: Some(ExitReason::InternalError.into()),
            }),
            Message::Event(Event::Closed),
        ];
        let text = serde_json::to_string(&messages).unwrap();
        assert_eq!(serde_json::from_str::<[Message; 3]>(&text).unwrap(), messages);
    }
}
