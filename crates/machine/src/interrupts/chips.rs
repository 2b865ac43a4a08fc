//! PIC, IOAPIC and PIT outside the kernel, and their connections to the lines, the vCPU and the local APICs.

use super::IsaChips;
use crate::clock::Clock;
use crate::devices::{IOAPIC_PINS, Ioapic, PIC_MASTER, PIC_SLAVE, PIT_BASE, PIT_FREQUENCY, Pic, Pit, Written};
use kvm_accel::interrupts::{Interrupts, Msi, PicSetup, UserIrqchip, Wake};
use kvm_accel::lock;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// The PIT's line, and the IOAPIC pin to which a PC connects it.
const TIMER_LINE: u8 = 0;
const TIMER_PIN: u8 = 2;
/// The shortest time between two ticks of a periodic PIT, 200 us, as in the kernel's PIT. Without it a guest could keep a host CPU busy.
const SHORTEST_TICK: u64 = PIT_FREQUENCY / 5000;

/// The controllers. Each call takes one lock and blocks on no other thread's work, except `wait_for_tick`.
pub struct UserChips {
    chips: Mutex<Chips>,
    /// Notified when the PIT was programmed, its clock was started or stopped, or the machine ends.
    timer: Condvar,
    /// The in-kernel local APICs, if there are any.
    local_apics: Option<Interrupts>,
    /// Makes the vCPU check [`UserIrqchip::pending`].
    wake: OnceLock<Wake>,
    present: IsaChips,
}

struct Chips {
    pic: Pic,
    /// Unused without local APICs.
    ioapic: Ioapic,
    pit: Pit,
    clock: Clock,
    /// When a periodic PIT may tick next, by the clock.
    earliest_tick: u64,
    /// The HPET drives the PIT's line.
    pit_replaced: bool,
    /// How PIC and PIT are set up at a reset.
    setup: Option<[PicSetup; 2]>,
    over: bool,
}

impl Chips {
    fn new() -> Self {
        Self {
            pic: Pic::default(),
            ioapic: Ioapic::default(),
            pit: Pit::default(),
            clock: Clock::new(PIT_FREQUENCY),
            earliest_tick: 0,
            pit_replaced: false,
            setup: None,
            over: false,
        }
    }

    /// Writes the registers of PIC and PIT from the setup. Without one, both stay at power-on.
    fn set_up(&mut self) {
        let Some([master, slave]) = self.setup else { return };
        // ICW1 to ICW4: edges, the vector, the cascade, 8086 mode. The mask follows.
        for (base, PicSetup { vector, mask }, cascade) in [(PIC_MASTER, master, 4), (PIC_SLAVE, slave, 2)] {
            self.pic.write(base, 0x11);
            [vector, cascade, 1, mask].into_iter().for_each(|value| self.pic.write(base + 1, value));
        }
        let now = self.clock.now();
        // Channel 0, low byte then high byte, mode 2; 0 is 65536.
        for (port, value) in [(3, 0x34), (0, 0), (0, 0)] {
            self.pit.write(PIT_BASE + port, value, now);
        }
    }
}

impl UserChips {
    /// Creates the controllers at power-on: with an IOAPIC if `local_apics` is given (`split`), otherwise with the PIC
    /// only (`off`). A chip that is not `present` raises no interrupts.
    #[must_use]
    pub fn new(local_apics: Option<Interrupts>, present: IsaChips) -> Self {
        Self { chips: Mutex::new(Chips::new()), timer: Condvar::new(), local_apics, wake: OnceLock::new(), present }
    }

    /// Returns the chips that exist.
    #[must_use]
    pub const fn present(&self) -> IsaChips {
        self.present
    }

    /// Returns true if there is an IOAPIC.
    #[must_use]
    pub const fn has_ioapic(&self) -> bool {
        self.local_apics.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Chips> {
        lock(&self.chips)
    }

    /// Changes the PIC. Wakes the vCPU if the change makes an interrupt pending.
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

    /// Puts a rising edge on a line.
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

    /// Sets the level of a line. The device of a level-triggered line keeps it high until the guest has served it.
    pub fn set_line(&self, line: u8, high: bool) {
        let mut chips = self.lock();
        let pin = if line == TIMER_LINE { TIMER_PIN } else { line };
        let msi = chips.ioapic.set_line(pin, high);
        self.send(msi);
        self.with_pic(chips, |pic| pic.set_line(line, high));
    }

    /// Reads a register of the PIC.
    pub fn read_pic(&self, port: u16) -> u8 {
        self.with_pic(self.lock(), |pic| pic.read(port))
    }

    /// Writes a register of the PIC.
    pub fn write_pic(&self, port: u16, value: u8) {
        self.with_pic(self.lock(), |pic| pic.write(port, value));
    }

    /// Reads a register of the IOAPIC.
    pub fn read_ioapic(&self, offset: u64) -> u32 {
        self.lock().ioapic.read(offset)
    }

    /// Writes a register of the IOAPIC.
    pub fn write_ioapic(&self, offset: u64, value: u32) {
        let mut chips = self.lock();
        let Written { changed, sent, acknowledged } = chips.ioapic.write(offset, value);
        if let Some(pin) = changed {
            self.route(pin, chips.ioapic.route(pin));
        }
        self.send(sent);
        self.acknowledged(acknowledged);
    }

    /// Reads a register of the PIT, or port B.
    pub fn read_pit(&self, port: u16) -> u8 {
        let mut chips = self.lock();
        let now = chips.clock.now();
        chips.pit.read(port, now)
    }

    /// Writes a register of the PIT, or port B.
    pub fn write_pit(&self, port: u16, value: u8) {
        let mut chips = self.lock();
        let now = chips.clock.now();
        chips.pit.write(port, value, now);
        drop(chips);
        self.timer.notify_all();
    }

    /// Starts the PIT's clock when the machine starts to run.
    pub fn start_clock(&self) {
        self.lock().clock.start();
        self.timer.notify_all();
    }

    /// Stops the PIT's clock when the machine stops.
    pub fn stop_clock(&self) {
        self.lock().clock.stop();
        self.timer.notify_all();
    }

    /// Disconnects the PIT from its line, or connects it.
    pub fn replace_pit(&self, replaced: bool) {
        self.lock().pit_replaced = replaced;
        self.timer.notify_all();
    }

    /// Waits for the next tick of a connected PIT. Returns false after [`UserChips::end`].
    pub(super) fn wait_for_tick(&self) -> bool {
        let mut chips = self.lock();
        let mut due = None;
        while !chips.over {
            let now = chips.clock.now();
            // The awaited tick is due. Ticks that were missed before it are lost.
            if chips.clock.runs() && !chips.pit_replaced && due.is_some_and(|due| due <= now) {
                chips.earliest_tick = now + SHORTEST_TICK;
                return true;
            }
            let connected = chips.clock.runs() && !chips.pit_replaced;
            let earliest = if chips.pit.is_periodic() { chips.earliest_tick } else { 0 };
            due = chips.pit.next_tick(now).filter(|_| connected).map(|due| due.max(earliest));
            let wait = due.map_or(Duration::MAX, |due| chips.clock.until(due));
            chips = match due {
                None => self.timer.wait(chips).unwrap_or_else(PoisonError::into_inner),
                Some(_) => self.timer.wait_timeout(chips, wait).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        false
    }

    /// Ends [`UserChips::wait_for_tick`], now and in the future.
    pub(super) fn end(&self) {
        self.lock().over = true;
        self.timer.notify_all();
    }

    /// Initialises the PIC, and the PIT to 18.2 Hz, now and at each reset.
    pub fn program(&self, setup: [PicSetup; 2]) {
        let mut chips = self.lock();
        chips.setup = Some(setup);
        chips.set_up();
    }

    /// Resets the controllers to power-on, and programs them if [`UserChips::program`] was called.
    pub fn reset(&self) {
        let mut chips = self.lock();
        let (clock, setup, over) = (chips.clock.clone(), chips.setup, chips.over);
        *chips = Chips { clock, setup, over, ..Chips::new() };
        chips.set_up();
        (0..IOAPIC_PINS).for_each(|pin| self.route(pin, Some(Msi::default())));
        drop(chips);
        self.timer.notify_all();
    }

    /// Sets a pin's MSI route in the kernel, which needs it for two purposes: an irqfd sends that message, and the end
    /// of a level-triggered interrupt causes an exit. A masked pin (`None`) keeps its route.
    fn route(&self, pin: u8, msi: Option<Msi>) {
        let (Some(local_apics), Some(msi)) = (&self.local_apics, msi) else { return };
        let mut routes = local_apics.change_routes();
        // The pins' routes exist from the start. A message that the kernel refuses is not delivered, as on hardware.
        let _ = routes.update_msi(pin.into(), msi).map(|()| routes.commit());
    }

    fn send(&self, msi: Option<Msi>) {
        if let (Some(local_apics), Some(msi)) = (&self.local_apics, msi) {
            // A message without a destination is lost, as on hardware.
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
        // A machine launches its vCPUs once.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_pit_with_the_shortest_period_ticks_at_most_every_200_us() {
        let chips = UserChips::new(None, IsaChips::default());
        // Channel 0, low byte then high byte, mode 2 or 3, with a count of 1.
        for mode in [0x34, 0x36] {
            for (port, value) in [(3, mode), (0, 1), (0, 0)] {
                chips.write_pit(PIT_BASE + port, value);
            }
            chips.start_clock();
            assert!(chips.wait_for_tick());
            let first = Instant::now();
            (0..20).for_each(|_| assert!(chips.wait_for_tick()));
            assert!(first.elapsed() > Duration::from_micros(19 * 199), "{:?}", first.elapsed());
        }
    }
}
