//! Parses `KVM_INTERPOSE`. The documentation of the crate describes its grammar.

use crate::names::{errno_number, ioctl_number};
use libc::c_int;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

/// The most `notify`, `buslock` and `debug` rules together: each vCPU has this many counters.
pub const MAX_EXIT_RULES: usize = 4;

/// The rules of the variable.
#[derive(Debug, Default)]
pub struct Config {
    /// `cap219`.
    pub notify_capability: bool,
    /// `cap:NUMBER=VALUE`.
    pub capabilities: Vec<(u32, c_int)>,
    /// `answer:NAME=VALUE`.
    pub answers: Vec<(u32, c_int)>,
    pub exits: Vec<ExitRule>,
    pub fail: Vec<FailRule>,
    pub log: Option<PathBuf>,
}

/// A rule `notify:...`, `buslock:...` or `debug:...`
#[derive(Debug, PartialEq, Eq)]
pub struct ExitRule {
    pub vcpu: u32,
    /// Only I/O exits at this port count.
    pub port: Option<u16>,
    pub after: u32,
    pub every: u32,
    pub count: u32,
    pub exit: Given,
}

/// An interposed exit, which the kernel has not caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// KVM_EXIT_NOTIFY with these flags. Given only on a VM that has enabled capability 219.
    Notify(u32),
    /// KVM_EXIT_X86_BUS_LOCK, with its bit in `kvm_run.flags`.
    BusLock,
    /// KVM_EXIT_DEBUG.
    Debug { exception: u32, pc: u64, dr6: u64, dr7: u64 },
}

/// A rule `fail:...`
#[derive(Debug)]
pub struct FailRule {
    request: u32,
    /// Only calls with this capability count.
    capability: Option<u32>,
    errno: c_int,
    first: u32,
    times: u32,
    seen: AtomicU32,
}

impl FailRule {
    /// Counts a call. Returns the errno with which it fails, if the rule selects this call.
    pub fn errno(&self, request: u32, capability: Option<u32>) -> Option<c_int> {
        if request != self.request || (self.capability.is_some() && capability != self.capability) {
            return None;
        }
        let nth = self.seen.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        (nth.checked_sub(self.first)? < self.times).then_some(self.errno)
    }
}

impl Config {
    /// Parses the variable's value. The error is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut config = Self::default();
        for rule in text.split(';').map(str::trim).filter(|rule| !rule.is_empty()) {
            config.add(rule).map_err(|problem| format!("rule `{rule}`: {problem}"))?;
        }
        Ok(config)
    }

    /// Returns the interposed result of KVM_CHECK_EXTENSION for a capability.
    pub fn capability(&self, number: u32) -> Option<c_int> {
        let emulated = (self.notify_capability && number == crate::notify::CAPABILITY).then_some(1);
        self.capabilities.iter().find(|(known, _)| *known == number).map(|(_, value)| *value).or(emulated)
    }

    /// Returns the interposed result of a call, independent of its argument.
    pub fn answer(&self, request: u32) -> Option<c_int> {
        self.answers.iter().find(|(known, _)| *known == request).map(|(_, value)| *value)
    }

    fn add(&mut self, rule: &str) -> Result<(), String> {
        if rule == "cap219" {
            self.notify_capability = true;
        } else if let Some(path) = rule.strip_prefix("log=") {
            self.log = Some(path.into());
        } else if let Some(rest) = rule.strip_prefix("cap:") {
            let (capability, value) = rest.split_once('=').ok_or("expected cap:NUMBER=VALUE")?;
            let value = wide(value)?;
            self.capabilities.push((number(capability)?, value));
        } else if let Some(rest) = rule.strip_prefix("answer:") {
            let (name, value) = rest.split_once('=').ok_or("expected answer:NAME=VALUE")?;
            let request = request_of(name)?;
            let value = wide(value)?;
            self.answers.push((request, value));
        } else if let Some(rest) = rule.strip_prefix("notify:") {
            self.add_exit(rest, Given::Notify(0))?;
        } else if let Some(rest) = rule.strip_prefix("buslock:") {
            self.add_exit(rest, Given::BusLock)?;
        } else if let Some(rest) = rule.strip_prefix("debug:") {
            self.add_exit(rest, Given::Debug { exception: 1, pc: 0, dr6: 0, dr7: 0 })?;
        } else if let Some(rest) = rule.strip_prefix("fail:") {
            self.fail.push(fail_rule(rest)?);
        } else {
            return Err("expected cap219, cap:, answer:, notify:, buslock:, debug:, fail: or log=".into());
        }
        Ok(())
    }

    fn add_exit(&mut self, text: &str, exit: Given) -> Result<(), String> {
        if self.exits.len() == MAX_EXIT_RULES {
            return Err(format!("too many rules: expected at most {MAX_EXIT_RULES} notify, buslock and debug rules"));
        }
        self.exits.push(exit_rule(text, exit)?);
        Ok(())
    }
}

fn exit_rule(text: &str, exit: Given) -> Result<ExitRule, String> {
    let mut rule = ExitRule { vcpu: 0, port: None, after: 0, every: 0, count: 1, exit };
    for (key, value) in pairs(text) {
        let field = match key {
            "pc" | "dr6" | "dr7" => {
                rule.exit.set(key, wide(value)?)?;
                continue;
            }
            "port" => {
                rule.port = Some(
                    value.parse().map_err(|_| format!("invalid port `{value}`: expected a number from 0 to 65535"))?,
                );
                continue;
            }
            "vcpu" => &mut rule.vcpu,
            "after" => &mut rule.after,
            "every" => &mut rule.every,
            "count" => &mut rule.count,
            _ => {
                rule.exit.set(key, number(value)?.into())?;
                continue;
            }
        };
        *field = number(value)?;
    }
    Ok(rule)
}

impl Given {
    /// Sets a key that only this kind of exit has.
    fn set(&mut self, key: &str, value: u64) -> Result<(), String> {
        let narrow = || u32::try_from(value).map_err(|_| format!("invalid value `{value}`: expected a 32-bit number"));
        match (self, key) {
            (Self::Notify(flags), "flags") => *flags = narrow()?,
            (Self::Debug { exception, .. }, "exception") => *exception = narrow()?,
            (Self::Debug { pc, .. }, "pc") => *pc = value,
            (Self::Debug { dr6, .. }, "dr6") => *dr6 = value,
            (Self::Debug { dr7, .. }, "dr7") => *dr7 = value,
            _ => return Err(format!("unknown key `{key}`")),
        }
        Ok(())
    }
}

fn fail_rule(text: &str) -> Result<FailRule, String> {
    let (name, rest) = text.split_once(',').unwrap_or((text, ""));
    let request = request_of(name)?;
    let (mut capability, mut errno, mut first, mut times) = (None, None, 1, 1);
    for (key, value) in pairs(rest) {
        match key {
            "errno" => {
                errno = Some(
                    errno_number(value)
                        .ok_or_else(|| format!("unknown errno `{value}`: expected a name, such as EIO"))?,
                )
            }
            "nth" => first = number(value)?,
            "times" => times = number(value)?,
            "cap" => capability = Some(number(value)?),
            _ => return Err(format!("unknown key `{key}`")),
        }
    }
    let errno = errno.ok_or("expected errno=NAME")?;
    Ok(FailRule { request, capability, errno, first, times, seen: AtomicU32::new(0) })
}

/// Splits a list of `key=value` words at its commas.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',').filter(|word| !word.is_empty()).map(|word| word.split_once('=').unwrap_or((word, "")))
}

fn request_of(name: &str) -> Result<u32, String> {
    ioctl_number(name).ok_or_else(|| format!("unknown call `{name}`: expected an ioctl of KVM, such as KVM_CREATE_VM"))
}

fn wide<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("invalid value `{text}`: expected a number"))
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("invalid value `{text}`: expected a whole number from 0 to 4294967295"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{CHECK_EXTENSION, CREATE_VM, ENABLE_CAP};

    #[test]
    fn test_rules_are_read_with_their_defaults() {
        let config =
            Config::parse(" cap219; cap:193=0;notify:vcpu=1,port=1016,after=3,flags=1 ;notify:count=2;log=/tmp/a=b;")
                .unwrap();
        assert!(config.notify_capability);
        assert_eq!(config.capabilities, [(193, 0)]);
        assert_eq!(
            config.exits,
            [
                ExitRule { vcpu: 1, port: Some(1016), after: 3, every: 0, count: 1, exit: Given::Notify(1) },
                ExitRule { vcpu: 0, port: None, after: 0, every: 0, count: 2, exit: Given::Notify(0) },
            ]
        );
        assert_eq!(config.log, Some("/tmp/a=b".into()));
        assert!(Config::parse("").unwrap().exits.is_empty());
    }

    #[test]
    fn test_debug_rules_have_wide_fields() {
        let rules = Config::parse("debug:port=128,exception=3,pc=18446744073709551615,dr6=4294905841").unwrap().exits;
        let exit = Given::Debug { exception: 3, pc: u64::MAX, dr6: 0xffff_0ff1, dr7: 0 };
        assert_eq!(rules, [ExitRule { vcpu: 0, port: Some(128), after: 0, every: 0, count: 1, exit }]);
    }

    #[test]
    fn test_capability_answers() {
        let config = Config::parse("cap219;cap:218=0").unwrap();
        assert_eq!((config.capability(219), config.capability(218), config.capability(0)), (Some(1), Some(0), None));
        let config = Config::parse("answer:KVM_CREATE_VM=-1").unwrap();
        assert_eq!((config.answer(CREATE_VM), config.answer(ENABLE_CAP)), (Some(-1), None));
        assert_eq!(Config::parse("cap219;cap:219=0").unwrap().capability(219), Some(0));
    }

    #[test]
    fn test_bad_rules_are_refused_with_their_text() {
        for text in [
            "nonsense",
            "cap:219",
            "cap:x=1",
            "cap:1=x",
            "answer:KVM_RUN",
            "answer:KVM_NOTHING=1",
            "answer:KVM_RUN=x",
            "notify:when=1",
            "notify:pc=1",
            "debug:flags=1",
            "buslock:flags=1",
            "debug:exception=4294967296",
            "notify:after=-1",
            "notify:port=65536",
            "notify:;notify:;notify:;notify:;notify:",
            "fail:KVM_NOTHING,errno=EIO",
            "fail:KVM_RUN",
            "fail:KVM_RUN,errno=5",
            "fail:KVM_RUN,errno=EIO,often=1",
        ] {
            let problem = Config::parse(text).unwrap_err();
            assert!(problem.starts_with("rule `"), "{text}: {problem}");
        }
    }

    #[test]
    fn test_fail_chooses_calls_by_number() {
        let config = Config::parse("fail:KVM_CREATE_VM,errno=EINTR,nth=2,times=3").unwrap();
        let answers: Vec<_> = (0..6).map(|_| config.fail[0].errno(CREATE_VM, None)).collect();
        assert_eq!(answers, [None, Some(libc::EINTR), Some(libc::EINTR), Some(libc::EINTR), None, None]);
        assert_eq!(config.fail[0].errno(CHECK_EXTENSION, None), None);
    }

    #[test]
    fn test_fail_can_select_one_capability() {
        let config = Config::parse("fail:KVM_ENABLE_CAP,cap=219,errno=EPERM").unwrap();
        assert_eq!(config.fail[0].errno(ENABLE_CAP, Some(218)), None);
        assert_eq!(config.fail[0].errno(ENABLE_CAP, Some(219)), Some(libc::EPERM));
        assert_eq!(config.fail[0].errno(ENABLE_CAP, Some(219)), None);
    }
}
