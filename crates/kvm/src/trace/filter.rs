//! Selects the traced events: of one session ([`Filter`]), and of all sessions of this process ([`enabled`]).

use super::events::{EVENTS, TraceKind};
use crate::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A set of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter(u64);

impl Filter {
    /// Returns the events whose names match a glob of `*` and `?`, as QEMU's `-trace` does.
    #[must_use]
    pub fn glob(pattern: &str) -> Self {
        EVENTS
            .iter()
            .filter(|event| matches(pattern.as_bytes(), event.name.as_bytes()))
            .fold(Self(0), |set, event| set.with(event.kind))
    }

    /// Returns this set with one more event.
    #[must_use]
    pub const fn with(self, kind: TraceKind) -> Self {
        Self(self.0 | 1 << kind as u32)
    }

    /// Returns the union of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether the set contains the event.
    #[must_use]
    pub const fn contains(self, kind: TraceKind) -> bool {
        self.0 & 1 << kind as u32 != 0
    }
}

/// Matches a glob. Linear in the text for each `*`: on a mismatch the last `*` consumes one more byte.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || text.get(t) == Some(&byte) => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    p = *at + 1;
                    t = *taken;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|&byte| byte == b'*')
}

/// The union of all sessions of the process. Every trace point loads it once to decide whether the event is traced.
static MASK: AtomicU64 = AtomicU64::new(0);

/// For each event, the number of sessions that trace it.
static WANTED: Mutex<[usize; 64]> = Mutex::new([0; 64]);

/// Returns whether any machine of this process traces the event.
#[inline]
pub fn enabled(kind: TraceKind) -> bool {
    // Relaxed: a session that has just been opened may miss an event of the same moment.
    MASK.load(Ordering::Relaxed) & 1 << kind as u32 != 0
}

/// A session's part of the mask. Dropping it removes the part.
#[derive(Debug)]
pub struct Enabled(Filter);

impl Enabled {
    pub fn new(filter: Filter) -> Self {
        count(filter, |sessions| sessions.saturating_add(1));
        Self(filter)
    }

    pub const fn filter(&self) -> Filter {
        self.0
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        count(self.0, |sessions| sessions.saturating_sub(1));
    }
}

fn count(filter: Filter, change: impl Fn(usize) -> usize) {
    let mut wanted = lock(&WANTED);
    let mut mask = 0;
    for (bit, sessions) in wanted.iter_mut().enumerate() {
        if filter.0 & 1 << bit != 0 {
            *sessions = change(*sessions);
        }
        mask |= u64::from(*sessions > 0) << bit;
    }
    MASK.store(mask, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn test_globs() {
        let names = |pattern| {
            EVENTS.iter().filter(|e| Filter::glob(pattern).contains(e.kind)).map(|e| e.name).collect::<Vec<_>>()
        };
        assert_eq!(names("*").len(), EVENTS.len());
        assert_eq!(names("kvm_run_exit"), ["kvm_run_exit"]);
        assert_eq!(names("kvm_run_*"), ["kvm_run_exit", "kvm_run_exit_system_event"]);
        assert_eq!(names("kvm_v?_ioctl"), ["kvm_vm_ioctl"]);
        assert_eq!(names("*_ioctl*").len(), 3);
        assert!(names("kvm_").is_empty() && names("").is_empty());
    }

    proptest! {
        #[test]
        fn test_a_glob_built_from_a_text_matches_it(text in "[a-c]{0,8}", from in 0usize..8, to in 0usize..8) {
            let (from, to) = (from.min(text.len()), to.min(text.len()));
            let (from, to) = (from.min(to), from.max(to));
            let glob = format!("{}*{}", &text[..from], &text[to..]);
            prop_assert!(matches(glob.as_bytes(), text.as_bytes()), "{} {}", glob, text);
            prop_assert!(matches("?".repeat(text.len()).as_bytes(), text.as_bytes()));
            prop_assert!(!matches("?".repeat(text.len() + 1).as_bytes(), text.as_bytes()));
        }
    }
}
