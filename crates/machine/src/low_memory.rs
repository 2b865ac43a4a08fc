//! What a PC's BIOS leaves in the first MiB, for kernels that are entered without firmware: interrupt vectors, the BIOS
//! data area, the extended BIOS data area (EBDA), and the end of the BIOS's ROM.

use crate::MachineConfigError;
use crate::layout::EBDA;
use kvm_accel::GuestRam;
use vm_memory::{Bytes, GuestAddress};

/// The interrupt vectors of real mode, and the BIOS data area behind them.
const LOW_SIZE: usize = 0x500;
const VECTORS: usize = 256;

/// Fields of the BIOS data area, by address.
const SERIAL_PORTS: usize = 0x400;
const EBDA_SEGMENT: usize = 0x40e;
const EQUIPMENT: usize = 0x410;
const BASE_MEMORY: usize = 0x413;
const KEYBOARD_HEAD: usize = 0x41a;
const KEYBOARD_TAIL: usize = 0x41c;
const KEYBOARD_START: usize = 0x480;
const KEYBOARD_END: usize = 0x482;

/// The keyboard's ring buffer, as offsets from 0x400.
const KEYBOARD_BUFFER: (u16, u16) = (0x1e, 0x3e);

/// Equipment: a coprocessor. The number of serial ports is in bits 11:9. There is no video, disk or printer.
const COPROCESSOR: u16 = 1 << 1;

/// The size of the EBDA in KiB. It ends at 640 KiB.
const EBDA_KIB: u8 = 1;

/// The segment of the BIOS's ROM.
const ROM: u16 = 0xf000;
/// The offset of an `iret`, at the address that every PC's BIOS has it. All vectors lead there, because there are no BIOS
/// services.
const IRET: u16 = 0xff53;
const IRET_CODE: u8 = 0xcf;
/// The offset of the reset vector. A guest that jumps to it resets the machine.
const RESET: u16 = 0xfff0;
/// `mov al, 0xfe; out 0x64, al; hlt`.
const RESET_CODE: [u8; 5] = [0xb0, 0xfe, 0xe6, 0x64, 0xf4];
/// The BIOS's date, as SeaBIOS has it.
const DATE: &[u8; 8] = b"06/23/99";
/// The machine's model: a PC/AT.
const MODEL: u8 = 0xfc;

/// Writes the areas. `serial_ports` are the addresses of COM1 to COM4 that exist.
///
/// # Errors
/// Fails if RAM ends below 1 MiB, which does not happen with a valid [`RamLayout`](crate::layout::RamLayout).
pub fn write(ram: &GuestRam, serial_ports: &[u16]) -> Result<(), MachineConfigError> {
    let outside = |_| MachineConfigError::new("memory", "RAM ends below the BIOS's areas", "Give at least 1 MiB.");
    let rom = |offset: u16| (u64::from(ROM) << 4) + u64::from(offset);
    let end = [&RESET_CODE[..], DATE, &[0, MODEL, 0]].concat();
    for (address, bytes) in
        [(0, &low(serial_ports)[..]), (EBDA, &[EBDA_KIB]), (rom(IRET), &[IRET_CODE]), (rom(RESET), &end)]
    {
        ram.write_slice(bytes, GuestAddress(address)).map_err(outside)?;
    }
    Ok(())
}

/// Returns the bytes from address 0 on.
fn low(serial_ports: &[u16]) -> Vec<u8> {
    let mut bytes = [IRET.to_le_bytes(), ROM.to_le_bytes()].concat().repeat(VECTORS);
    bytes.resize(LOW_SIZE, 0);
    let ports = (0..4).zip(serial_ports).map(|(index, port)| (SERIAL_PORTS + 2 * index, *port));
    let count = u16::try_from(serial_ports.len().min(4)).unwrap_or(0);
    let fields = [
        (EBDA_SEGMENT, u16::try_from(EBDA >> 4).unwrap_or(0)),
        (EQUIPMENT, COPROCESSOR | count << 9),
        (BASE_MEMORY, u16::try_from(EBDA >> 10).unwrap_or(0)),
        (KEYBOARD_HEAD, KEYBOARD_BUFFER.0),
        (KEYBOARD_TAIL, KEYBOARD_BUFFER.0),
        (KEYBOARD_START, KEYBOARD_BUFFER.0),
        (KEYBOARD_END, KEYBOARD_BUFFER.1),
    ];
    for (at, value) in fields.into_iter().chain(ports) {
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_the_areas_are_a_pcs() {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        write(&ram, &[0x3f8, 0x2e8]).unwrap();
        let word = |address| ram.read_obj::<u16>(GuestAddress(address)).unwrap();
        assert_eq!((word(0x40e), word(0x413), word(0x410)), (0x9fc0, 639, 0x0402));
        assert_eq!([0x400, 0x402, 0x404, 0x408].map(word), [0x3f8, 0x2e8, 0, 0]);
        assert_eq!([0x41a, 0x41c, 0x480, 0x482].map(word), [0x1e, 0x1e, 0x1e, 0x3e]);
        assert_eq!(word(0x9_fc00), 1);
        for vector in [0, 8, 0x10, 0xff] {
            let address = u64::from(word(4 * vector)) + (u64::from(word(4 * vector + 2)) << 4);
            assert_eq!((address, word(address)), (0xf_ff53, 0xcf));
        }
        let mut end = [0; 16];
        ram.read_slice(&mut end, GuestAddress(0xf_fff0)).unwrap();
        assert_eq!(&end, b"\xb0\xfe\xe6\x64\xf406/23/99\0\xfc\0");
    }

    #[test]
    fn test_a_board_has_up_to_four_serial_ports() {
        let bytes = low(&[1, 2, 3, 4, 5]);
        assert_eq!((&bytes[0x400..0x40a], bytes[0x411]), (&[1, 0, 2, 0, 3, 0, 4, 0, 0, 0][..], 8));
    }
}
