//! Fuzzes a serial port with accesses, input and resets. Each step uses two bytes of input.
#![no_main]

use kvm_accel_machine::bus::BusDevice;
use kvm_accel_machine::devices::{COM1_PORTS, Irq, SERIAL_INPUT_CAPACITY, SerialOutput, SerialPort};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let port = SerialPort::new(Irq::none(), SerialOutput::null(), Some(Box::new(|| {})));
    for [step, value] in input.as_chunks().0.iter().copied() {
        let width = 1 << (step >> 3 & 1);
        // As on the bus, an access ends within the device.
        let offset = u64::from(step & 7).min(u64::from(COM1_PORTS) - width as u64);
        match step >> 6 {
            0 => drop(port.write(offset, &[value, step][..width])),
            1 => port.read(offset, &mut [0; 2][..width]),
            2 => {
                let taken = port.input(&vec![value; usize::from(step & 0x3f) << (value & 15)]);
                assert!(taken <= SERIAL_INPUT_CAPACITY + 64, "the queue and the FIFO have taken {taken} bytes");
            }
            _ => port.reset(),
        }
    }
    port.finish();
});
