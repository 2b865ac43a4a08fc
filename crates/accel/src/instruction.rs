//! The instruction at rip: its bytes from guest memory, and its disassembly.

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use kvm_accel_kvm::fd::Vcpu;
use kvm_accel_kvm::state::Registers;
use kvm_accel_memory::GuestRam;
use vm_memory::{Bytes, GuestAddress};

/// The longest x86 instruction, in bytes.
const MAX_LENGTH: u64 = 15;
const PAGE: u64 = 4096;

/// Returns up to 15 bytes from rip on, through the guest's page tables. Empty if the address is unmapped.
pub fn bytes_at_rip(vcpu: &Vcpu, registers: &Registers, ram: &GuestRam) -> Vec<u8> {
    let start = registers.linear_rip();
    let mut bytes = Vec::new();
    // At most two pieces: an instruction may cross a page boundary.
    let first = (PAGE - start % PAGE).min(MAX_LENGTH);
    for (linear, len) in [(start, first), (start.wrapping_add(first), MAX_LENGTH - first)] {
        let mut piece = vec![0; usize::try_from(len).unwrap_or(0)];
        let Some(physical) = vcpu.translate(linear) else { break };
        if ram.read_slice(&mut piece, GuestAddress(physical)).is_err() {
            break;
        }
        bytes.append(&mut piece);
    }
    bytes
}

/// Disassembles the first instruction of `bytes` in Intel syntax. Returns `(bad)` if they are not an instruction, and
/// an empty text without bytes.
pub fn disassemble(bytes: &[u8], registers: &Registers) -> String {
    if bytes.is_empty() {
        return String::new();
    }
    let mut decoder = Decoder::with_ip(registers.bitness(), bytes, registers.rip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    if instruction.is_invalid() {
        return "(bad)".into();
    }
    let mut text = String::new();
    IntelFormatter::new().format(&instruction, &mut text);
    text
}

/// Returns QEMU's `Code=` line: the bytes from rip on, the first one in angle brackets.
pub fn code_line(bytes: &[u8]) -> String {
    let bytes: Vec<_> =
        bytes.iter().enumerate().map(|(i, b)| if i == 0 { format!("<{b:02x}>") } else { format!("{b:02x}") }).collect();
    format!("Code={}", bytes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_disassemble_follows_the_mode() {
        let real = Registers::default();
        assert_eq!(disassemble(&[0x0f, 0xa2], &real), "cpuid");
        assert_eq!(disassemble(&[0xb8, 1, 0], &real), "mov ax,1");
        assert_eq!(disassemble(&[], &real), "");
        assert_eq!(disassemble(&[0x0f, 0xff], &real), "(bad)");
    }

    #[test]
    fn test_code_line_marks_the_byte_at_rip() {
        assert_eq!(code_line(&[0x0f, 0xa2]), "Code=<0f> a2");
        assert_eq!(code_line(&[]), "Code=");
    }
}
