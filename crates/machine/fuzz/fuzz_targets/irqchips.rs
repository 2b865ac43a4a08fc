//! Fuzzes the interrupt controllers outside the kernel, wired as for `kernel-irqchip=off`, by their ports, and with the devices that
//! interrupt through them. Where there is a /dev/kvm, the same accesses reach a virtual machine with `kernel-irqchip=split`.
#![no_main]

use kvm_accel::interrupts::UserIrqchip;
use kvm_accel::properties::KernelIrqchip;
use kvm_accel::{AccelProperties, Accelerator, Bus};
use kvm_accel_machine::bus::{BusBuilder, MachineBus};
use kvm_accel_machine::devices::{HPET_BASE, HPET_SIZE, Hpet, HpetLines, IOAPIC_BASE};
use kvm_accel_machine::interrupts::{IsaChips, Lines, UserChips};
use kvm_accel_machine::layout::RamLayout;
use kvm_accel_machine::ram;
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

struct Wired {
    lines: Lines,
    chips: Arc<UserChips>,
    bus: MachineBus,
    hpet: Arc<Hpet>,
    /// The virtual machine whose local APICs get the messages.
    _accel: Option<Accelerator>,
}

// The fuzzer calls the target on one thread.
struct Shared(Vec<Wired>);

impl Wired {
    fn new(lines: Lines, accel: Option<Accelerator>) -> Option<Self> {
        let Lines::User(chips) = &lines else { return None };
        let chips = Arc::clone(chips);
        let (levels, replace) = (lines.levels(), lines.replace_pit());
        let pulse = move |line: u8| {
            levels(line, true);
            levels(line, false);
        };
        let hpet = Arc::new(Hpet::new(HpetLines { pulse: Box::new(pulse), replace }));
        let bus = lines.place(BusBuilder::new()).memory("HPET", HPET_BASE, HPET_SIZE, Arc::clone(&hpet) as _);
        Some(Self { lines, chips, bus: bus.build().expect("the claims do not overlap"), hpet, _accel: accel })
    }

    fn off() -> Option<Self> {
        Self::new(Lines::User(Arc::new(UserChips::new(None, IsaChips::default()))), None)
    }

    fn split() -> Option<Self> {
        let layout = RamLayout::new(2 << 20).ok()?;
        let memory = ram::allocate(&layout, &Default::default()).ok()?;
        let properties = AccelProperties { kernel_irqchip: KernelIrqchip::Split, ..Default::default() };
        let mut accel = Accelerator::new(properties, 1, memory).ok()?;
        Self::new(Lines::new(&mut accel, KernelIrqchip::Split, IsaChips::default()), Some(accel))
    }

    /// Does the steps of the input. Each uses eight bytes.
    fn run(&self, input: &[u8]) {
        self.lines.reset();
        self.hpet.reset();
        for [step, place, value @ ..] in input.as_chunks::<8>().0.iter().copied() {
            let data = &value[..1 << (step & 1)];
            let port = [0x20, 0x21, 0xa0, 0xa1, 0x40, 0x43, 0x61, 0x4d0][usize::from(place & 7)];
            let address = match place & 3 {
                0 => HPET_BASE + u64::from(place) * 4,
                1 => IOAPIC_BASE,
                _ => IOAPIC_BASE + 0x10,
            };
            match step >> 1 & 7 {
                0 => drop(self.bus.pio_write(port, data)),
                1 => self.bus.pio_read(port, &mut [0; 2][..data.len()]),
                2 => drop(self.bus.mmio_write(address, &value[..4])),
                3 => self.bus.mmio_read(address, &mut [0; 4]),
                4 => self.chips.set_line(value[0] & 0x1f, value[1] & 1 != 0),
                5 => self.chips.pulse(value[0] & 0x1f),
                6 if self.chips.pending() => drop(self.chips.acknowledge()),
                6 => self.chips.end_of_interrupt(value[0]),
                _ => {
                    self.bus.interrupt();
                    self.bus.resume();
                }
            }
        }
        self.bus.interrupt();
        self.lines.reset();
        assert!(!self.chips.pending(), "a reset withdraws interrupts");
    }
}

thread_local! {
    static WIRED: LazyLock<Shared> = LazyLock::new(|| Shared(Wired::off().into_iter().chain(Wired::split()).collect()));
}

fuzz_target!(|input: &[u8]| WIRED.with(|wired| wired.0.iter().for_each(|wired| wired.run(input))));
