//! Emulates capability 219, and decides when an interposed exit is due.

use crate::config::{ExitRule, Given};
use crate::fds::Fd;
use kvm_bindings::{
    KVM_CAP_X86_NOTIFY_VMEXIT, KVM_X86_NOTIFY_VMEXIT_ENABLED, KVM_X86_NOTIFY_VMEXIT_USER, kvm_enable_cap,
};
use libc::c_int;
use std::sync::atomic::Ordering;

/// KVM_CAP_X86_NOTIFY_VMEXIT.
pub const CAPABILITY: u32 = KVM_CAP_X86_NOTIFY_VMEXIT;

/// Validates KVM_ENABLE_CAP(219) like Linux 6.1. The call may be repeated until the VM has a vCPU.
pub fn validate(cap: &kvm_enable_cap, vcpus: u32) -> Result<(), c_int> {
    let valid = u64::from(KVM_X86_NOTIFY_VMEXIT_ENABLED | KVM_X86_NOTIFY_VMEXIT_USER);
    let [arg, ..] = cap.args;
    let flags = arg & 0xffff_ffff;
    let refused =
        cap.flags != 0 || flags & !valid != 0 || flags & u64::from(KVM_X86_NOTIFY_VMEXIT_ENABLED) == 0 || vcpus != 0;
    if refused { Err(libc::EINVAL) } else { Ok(()) }
}

/// Returns the first rule with an exit that is due on this vCPU. Notify exits are due only if `enabled`.
pub fn due(rules: &[ExitRule], vcpu: &Fd, enabled: bool) -> Option<(usize, Given)> {
    let id = vcpu.id.load(Ordering::Relaxed);
    rules.iter().zip(vcpu.exits.iter().zip(&vcpu.notified)).enumerate().find_map(
        |(index, (rule, (exits, notified)))| {
            let (exits, given) = (u64::from(exits.load(Ordering::Relaxed)), notified.load(Ordering::Relaxed));
            let from = u64::from(rule.after) + u64::from(given) * u64::from(rule.every);
            let possible = enabled || !matches!(rule.exit, Given::Notify(_));
            (possible && rule.vcpu == id && given < rule.count && exits >= from).then_some((index, rule.exit))
        },
    )
}

/// Counts a real exit of this vCPU for the rules to which it applies. `port` is the port of an I/O exit.
pub fn count(rules: &[ExitRule], vcpu: &Fd, port: Option<u16>) {
    for (rule, exits) in rules.iter().zip(&vcpu.exits) {
        if rule.port.is_none() || rule.port == port {
            exits.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::fds;

    fn request(flags: u32, arg: u64) -> kvm_enable_cap {
        kvm_enable_cap { cap: CAPABILITY, flags, args: [arg, 0, 0, 0], ..Default::default() }
    }

    #[test]
    fn test_enable_is_validated_as_the_kernel_does() {
        for (flags, arg, vcpus, accepted) in [
            (0, 0x3, 0, true),
            (0, 0x1, 0, true),
            (0, 0xffff_ffff_0000_0003, 0, true),
            (0, 0x7_0000_0003, 0, true),
            (0, 0x0, 0, false),
            (0, 0x2, 0, false),
            (0, 0x7, 0, false),
            (0, 0x8000_0003, 0, false),
            (1, 0x3, 0, false),
            (0, 0x3, 1, false),
        ] {
            let expected = if accepted { Ok(()) } else { Err(libc::EINVAL) };
            assert_eq!(validate(&request(flags, arg), vcpus), expected, "{flags} {arg:#x} {vcpus}");
        }
    }

    #[test]
    fn test_due_counts_real_exits_and_given_ones() {
        let rules = Config::parse("notify:vcpu=3,after=2,every=1,count=2,flags=1").unwrap().exits;
        fds::vcpu_created(4000, 4001, 3);
        let vcpu = fds::get(4001).unwrap();
        assert_eq!(due(&rules, vcpu, true), None);
        count(&rules, vcpu, Some(0x3f8));
        count(&rules, vcpu, None);
        assert_eq!(due(&rules, vcpu, true), Some((0, Given::Notify(1))));
        vcpu.notified[0].store(1, Ordering::Relaxed);
        assert_eq!(due(&rules, vcpu, true), None);
        count(&rules, vcpu, None);
        assert_eq!(due(&rules, vcpu, true), Some((0, Given::Notify(1))));
        vcpu.notified[0].store(2, Ordering::Relaxed);
        assert_eq!(due(&rules, vcpu, true), None);
    }

    #[test]
    fn test_due_can_count_one_port_only() {
        let rules = Config::parse("notify:port=1016,after=1").unwrap().exits;
        fds::vcpu_created(4004, 4005, 0);
        let vcpu = fds::get(4005).unwrap();
        count(&rules, vcpu, None);
        count(&rules, vcpu, Some(0x80));
        assert_eq!(due(&rules, vcpu, true), None);
        count(&rules, vcpu, Some(0x3f8));
        assert_eq!(due(&rules, vcpu, true), Some((0, Given::Notify(0))));
    }

    #[test]
    fn test_due_gives_debug_exits_on_every_host() {
        let rules = Config::parse("notify:;debug:pc=7").unwrap().exits;
        fds::vcpu_created(4006, 4007, 0);
        let exit = Given::Debug { exception: 1, pc: 7, dr6: 0, dr7: 0 };
        assert_eq!(due(&rules, fds::get(4007).unwrap(), false), Some((1, exit)));
    }

    #[test]
    fn test_due_is_about_one_vcpu() {
        let rules = Config::parse("notify:vcpu=1").unwrap().exits;
        fds::vcpu_created(4002, 4003, 0);
        assert_eq!(due(&rules, fds::get(4003).unwrap(), true), None);
    }
}
