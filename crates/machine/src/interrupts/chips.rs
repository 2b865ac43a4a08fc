//! PIC, IOAPIC and PIT outside the kernel, and what connects them: lines, the vCPU, the local APICs.

use super::IsaChips;
use crate::clock::Clock;
use crate::devices::{IOAPIC_PINS, Ioapic, PIT_FREQUENCY, Pic, Pit, Written};
use kvm_accel::interrupts::{Interrupts, Msi, UserIrqchip, Wake};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// The PIT's line, and the pin where a PC has it on the IOAPIC.
const TIMER_LINE: u8 = 0;
const TIMER_PIN: u8 = 2;

/// The controllers. Each call takes one lock and waits for nobody.
pub struct UserChips {
    chips: Mutex<Chips>,
    /// The PIT was programmed, or its clock started or stopped, or it is over.
    timer: Condvar,
    /// The local APICs, where there are some: in the kernel.
    local_apics: Option<Interrupts>,
    /// Makes the vCPU look at [`UserIrqchip::pending`].
    wake: OnceLock<Wake>,
    present: IsaChips,
}

struct Chips {
    pic: Pic,
    /// Nothing reads it where there are no local APICs.
    ioapic: Ioapic,
    pit: Pit,
    clock: Clock,
    over: bool,
}

impl Chips {
    fn new() -> Self {
        Self {
            pic: Pic::default(),
            ioapic: Ioapic::default(),
            pit: Pit::default(),
            clock: Clock::new(PIT_FREQUENCY),
            over: false,
        }
    }
}

impl UserChips {
    /// With `local_apics` there is an IOAPIC (`split`), without only the PIC (`off`). What is not `present` interrupts nobody.
    #[must_use]
    pub fn new(local_apics: Option<Interrupts>, present: IsaChips) -> Self {
        Self { chips: Mutex::new(Chips::new()), timer: Condvar::new(), local_apics, wake: OnceLock::new(), present }
    }

    /// Which chips there are.
    #[must_use]
    pub const fn present(&self) -> IsaChips {
        self.present
    }

    /// Whether there is an IOAPIC.
    #[must_use]
    pub const fn has_ioapic(&self) -> bool {
        self.local_apics.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Chips> {
        self.chips.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the PIC, and wakes the vCPU when that interrupts it.
    fn with_pic<T>(&self, mut chips: MutexGuard<'_, Chips>, change: impl FnOnce(&mut Pic) -> T) -> T {
        let before = chips.pic.pending();
        let result = change(&mut chips.pic);
        let interrupts = chips.pic.pending() && !before;
        drop(chips);
        if interrupts
            && self.present.pic
            && let Some(wake) = self.wake.get()
        {
            wake();
        }
        result
    }

    /// An edge on a line.
    pub fn pulse(&self, line: u8) {
        let mut chips = self.lock();
        let pin = if line == TIMER_LINE { TIMER_PIN } else { line };
        let sent = [false, true].map(|high| chips.ioapic.set_line(pin, high));
        sent.into_iter().for_each(|msi| self.send(msi));
        self.with_pic(chips, |pic| {
            pic.set_line(line, false);
            pic.set_line(line, true);
        });
    }

    /// The level of a line whose device keeps it up until it is served.
    pub fn set_line(&self, line: u8, high: bool) {
        let mut chips = self.lock();
        let pin = if line == TIMER_LINE { TIMER_PIN } else { line };
        let msi = chips.ioapic.set_line(pin, high);
        self.send(msi);
        self.with_pic(chips, |pic| pic.set_line(line, high));
    }

    /// A register of the PIC.
    pub fn read_pic(&self, port: u16) -> u8 {
        self.with_pic(self.lock(), |pic| pic.read(port))
    }

    /// See [`UserChips::read_pic`].
    pub fn write_pic(&self, port: u16, value: u8) {
        self.with_pic(self.lock(), |pic| pic.write(port, value));
    }

    /// A register of the IOAPIC.
    pub fn read_ioapic(&self, offset: u64) -> u32 {
        self.lock().ioapic.read(offset)
    }

    /// See [`UserChips::read_ioapic`].
    pub fn write_ioapic(&self, offset: u64, value: u32) {
        let mut chips = self.lock();
        let Written { changed, sent, acknowledged } = chips.ioapic.write(offset, value);
        if let Some(pin) = changed {
            self.route(pin, chips.ioapic.route(pin));
        }
        self.send(sent);
        self.acknowledged(acknowledged);
    }

    /// A register of the PIT, or port B.
    pub fn read_pit(&self, port: u16) -> u8 {
        let mut chips = self.lock();
        let now = chips.clock.now();
        chips.pit.read(port, now)
    }

    /// See [`UserChips::read_pit`].
    pub fn write_pit(&self, port: u16, value: u8) {
        let mut chips = self.lock();
        let now = chips.clock.now();
        chips.pit.write(port, value, now);
        drop(chips);
        self.timer.notify_all();
    }

    /// The machine runs: so does the PIT.
    pub fn start_clock(&self) {
        self.lock().clock.start();
        self.timer.notify_all();
    }

    /// The machine stands still.
    pub fn stop_clock(&self) {
        self.lock().clock.stop();
        self.timer.notify_all();
    }

    /// Waits for the PIT's next tick; false when it is over.
    pub(super) fn wait_for_tick(&self) -> bool {
        let mut chips = self.lock();
        let mut due = None;
        while !chips.over {
            let now = chips.clock.now();
            // A tick that was waited for and has come; those that were missed are lost.
            if chips.clock.runs() && due.is_some_and(|due| due <= now) {
                return true;
            }
            due = chips.pit.next_tick(now).filter(|_| chips.clock.runs());
            let wait = due.map_or(Duration::MAX, |due| chips.clock.until(due));
            chips = match due {
                None => self.timer.wait(chips).unwrap_or_else(PoisonError::into_inner),
                Some(_) => self.timer.wait_timeout(chips, wait).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        false
    }

    /// Ends [`UserChips::wait_for_tick`] for good.
    pub(super) fn end(&self) {
        self.lock().over = true;
        self.timer.notify_all();
    }

    /// Back to power-on.
    pub fn reset(&self) {
        let mut chips = self.lock();
        let (clock, over) = (chips.clock.clone(), chips.over);
        *chips = Chips { clock, over, ..Chips::new() };
        (0..IOAPIC_PINS).for_each(|pin| self.route(pin, Some(Msi::default())));
        drop(chips);
        self.timer.notify_all();
    }

    /// The kernel has to know the messages of the IOAPIC: an irqfd sends them, and the end of a level-triggered one is an exit. What a
    /// masked pin had it keeps.
    fn route(&self, pin: u8, msi: Option<Msi>) {
        let (Some(local_apics), Some(msi)) = (&self.local_apics, msi) else { return };
        let mut routes = local_apics.change_routes();
        // The pins' routes exist from the start, and a message that the kernel cannot take reaches nobody, as on hardware.
        let _ = routes.update_msi(pin.into(), msi).map(|()| routes.commit());
    }

    fn send(&self, msi: Option<Msi>) {
        if let (Some(local_apics), Some(msi)) = (&self.local_apics, msi) {
            // A message that reaches nobody is lost, as on hardware.
            let _ = local_apics.send_msi(msi);
        }
    }

    fn acknowledged(&self, pins: Vec<(u8, Option<Msi>)>) {
        for (pin, again) in pins {
            if let Some(local_apics) = &self.local_apics {
                local_apics.acknowledged(pin.into());
            }
            self.send(again);
        }
    }
}

impl UserIrqchip for UserChips {
    fn attach(&self, wake: Wake) {
        // A machine launches once.
        let _ = self.wake.set(wake);
    }

    fn pending(&self) -> bool {
        self.present.pic && self.lock().pic.pending()
    }

    fn acknowledge(&self) -> u8 {
        self.lock().pic.acknowledge()
    }

    fn end_of_interrupt(&self, vector: u8) {
        let acknowledged = self.lock().ioapic.end_of_interrupt(vector);
        self.acknowledged(acknowledged);
    }
}
