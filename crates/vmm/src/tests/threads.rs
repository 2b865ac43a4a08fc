//! Tests on the threads of the host.

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
        Message::Event(Event::Shutdown { reason: ExitReason::GuestShutdown, exit: ExitReason::GuestShutdown.into() }),
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
fn a_failed_creation_reports_the_reason_and_closes_the_machine() {
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
        Message::Event(Event::Stop { state: RunState::InternalError, exit: Some(ExitReason::InternalError.into()) }),
        Message::Event(Event::Closed),
    ];
    let text = serde_json::to_string(&messages).unwrap();
    assert_eq!(serde_json::from_str::<[Message; 3]>(&text).unwrap(), messages);
}
