//! The general registers of a vCPU.

use kvm_accel::Registers;
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;

/// General registers of a vCPU.
#[napi(object)]
pub struct BindingRegisters {
    pub rax: BigInt,
    pub rbx: BigInt,
    pub rcx: BigInt,
    pub rdx: BigInt,
    pub rsi: BigInt,
    pub rdi: BigInt,
    pub rbp: BigInt,
    pub rsp: BigInt,
    pub r8: BigInt,
    pub r9: BigInt,
    pub r10: BigInt,
    pub r11: BigInt,
    pub r12: BigInt,
    pub r13: BigInt,
    pub r14: BigInt,
    pub r15: BigInt,
    pub rip: BigInt,
    pub rflags: BigInt,
}

/// Converts the general registers.
pub fn registers(registers: &Registers) -> BindingRegisters {
    let [rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15] =
        registers.general.map(BigInt::from);
    BindingRegisters {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rbp,
        rsp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip: registers.rip.into(),
        rflags: registers.rflags.into(),
    }
}
