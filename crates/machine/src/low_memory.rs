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
/// The offset of an `iret`, where every PC's BIOS has one. Most vectors lead there, because there are no BIOS services.
const IRET: u16 = 0xff53;
const IRET_CODE: u8 = 0xcf;
/// The handler of the PIT's tick, at its usual offset: counts the tick at 0x46c and acknowledges it.
/// `push ds; push ax; xor ax, ax; mov ds, ax; inc dword [0x46c]; mov al, 0x20; out 0x20, al; pop ax; pop ds; iret`.
const TICK: u16 = 0xfea5;
const TICK_CODE: [u8; 18] =
    [0x1e, 0x50, 0x31, 0xc0, 0x8e, 0xd8, 0x66, 0xff, 0x06, 0x6c, 0x04, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0x1f, 0xcf];
/// The handler of the master PIC's other lines, which acknowledges:
/// `push ax; mov al, 0x20; out 0x20, al; pop ax; iret`.
const MASTER: u16 = 0xff00;
const MASTER_CODE: [u8; 7] = [0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf];
/// The handler of the slave's lines: the same, and `out 0xa0, al` first.
const SLAVE: u16 = 0xff10;
const SLAVE_CODE: [u8; 9] = [0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf];
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
    for (address, bytes) in [
        (0, &low(serial_ports)[..]),
        (EBDA, &[EBDA_KIB]),
        (rom(TICK), &TICK_CODE),
        (rom(MASTER), &MASTER_CODE),
        (rom(SLAVE), &SLAVE_CODE),
        (rom(IRET), &[IRET_CODE]),
        (rom(RESET), &end),
    ] {
        ram.write_slice(bytes, GuestAddress(address)).map_err(outside)?;
    }
    Ok(())
}

/// Returns the bytes from address 0 on.
fn low(serial_ports: &[u16]) -> Vec<u8> {
    // The vectors of the PIC are those that it has under SeaBIOS.
    let handler = |vector| match vector {
        0x08 => TICK,
        0x09..=0x0f => MASTER,
        0x70..=0x77 => SLAVE,
        _ => IRET,
    };
    let vector = |vector| [handler(vector).to_le_bytes(), ROM.to_le_bytes()].concat();
    let mut bytes: Vec<u8> = (0..VECTORS).flat_map(vector).collect();
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
        let handler = |vector: u64| u64::from(word(4 * vector)) + (u64::from(word(4 * vector + 2)) << 4);
        for vector in [0, 7, 0x10, 0x6f, 0x78, 0xff] {
            assert_eq!((handler(vector), word(handler(vector))), (0xf_ff53, 0xcf));
        }
        // Each line's handler writes an end of interrupt to its PIC and returns.
        for (vector, len, end) in [(0x08, 18, 0x20), (0x09, 7, 0x20), (0x0f, 7, 0x20), (0x70, 9, 0xa0), (0x77, 9, 0xa0)]
        {
            let mut code = vec![0; len];
            ram.read_slice(&mut code, GuestAddress(handler(vector))).unwrap();
            assert!(code.windows(4).any(|window| window == [0xb0, 0x20, 0xe6, end]), "{vector:#x}");
            assert_eq!(code.last(), Some(&0xcf));
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
