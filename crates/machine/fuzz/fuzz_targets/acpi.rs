//! Fuzzes ACPI's registers with accesses of any width and place. Each access uses four bytes of input.
#![no_main]

use kvm_accel_machine::bus::BusDevice;
use kvm_accel_machine::devices::{ACPI_PM_PORTS, AcpiPm};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let pm = AcpiPm::new();
    for access in input.chunks_exact(4) {
        // As on the bus, an access ends within the device.
        let width = 1 << (access[0] & 3);
        let offset = u64::from(access[1]) % (u64::from(ACPI_PM_PORTS) - width as u64 + 1);
        let mut data = [access[2], access[3], 0x20, 0, 0, 0, 0, 0];
        if access[0] & 4 == 0 {
            pm.read(offset, &mut data[..width]);
        } else {
            let _ = pm.write(offset, &data[..width]);
        }
        let mut control = [0; 2];
        pm.read(4, &mut control);
        assert_eq!((control[0] & 1, control[1] & 0x20), (1, 0), "SCI_EN is set, and the sleep bit reads 0");
    }
});
