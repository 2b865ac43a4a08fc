//! The texts of a fatal exit, in QEMU's order: suberror, data words, registers, code bytes.

use crate::event::{Fault, FaultKind};
use crate::instruction::{bytes_at_rip, code_line, disassemble};
use kvm_accel_kvm::fd::Vcpu;
use kvm_accel_kvm::run::InternalError;
use kvm_accel_memory::{GuestRam, Loss};

/// Formats the registers, then the bytes at rip with their disassembly.
pub fn registers_and_code(vcpu: &Vcpu, ram: &GuestRam) -> String {
    match vcpu.registers() {
        Ok(registers) => {
            let bytes = bytes_at_rip(vcpu, &registers, ram);
            with_code(&registers.to_string(), &bytes, &disassemble(&bytes, &registers))
        }
        Err(error) => format!("cannot read the registers: {error}"),
    }
}

/// Returns the fault of a machine whose memory the host has lost.
pub fn lost_memory(vcpu: &Vcpu, loss: Loss, ram: &GuestRam) -> Fault {
    let message = format!("vCPU {}: {loss}", vcpu.id());
    Fault { vcpu: vcpu.id(), kind: FaultKind::Memory, message, report: registers_and_code(vcpu, ram) }
}

/// Returns the fault for KVM_EXIT_INTERNAL_ERROR. Prefers the kernel's instruction bytes, because guest memory may have
/// changed.
pub fn internal_error(vcpu: &Vcpu, error: &InternalError, ram: &GuestRam) -> Fault {
    let registers = vcpu.registers().unwrap_or_default();
    let bytes = error.instruction_bytes().unwrap_or_else(|| bytes_at_rip(vcpu, &registers, ram));
    let instruction = disassemble(&bytes, &registers);
    let what = if instruction.is_empty() { String::new() } else { format!(" at '{instruction}'") };
    let mut lines = vec![format!("KVM internal error. Suberror: {}", error.suberror)];
    lines.extend(error.data.iter().enumerate().map(|(i, word)| format!("extra data[{i}]: {word:#018x}")));
    lines.push(error.name().to_owned());
    Fault {
        vcpu: vcpu.id(),
        kind: FaultKind::InternalError,
        message: format!(
            "KVM internal error on vCPU {}: suberror {} ({}){what}, rip {:#x}",
            vcpu.id(),
            error.suberror,
            error.name(),
            registers.rip
        ),
        report: format!("{}\n{}", lines.join("\n"), with_code(&registers.to_string(), &bytes, &instruction)),
    }
}

fn with_code(registers: &str, bytes: &[u8], instruction: &str) -> String {
    let text = if instruction.is_empty() { "(no memory at rip)" } else { instruction };
    format!("{registers}\n{}\nInstruction: {text}", code_line(bytes))
}
