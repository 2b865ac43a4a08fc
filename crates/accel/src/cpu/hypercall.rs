//! Computes the status of a Hyper-V hypercall that the kernel passes to user space. Pure. As in QEMU without a
//! listening device, no connection exists.

/// The number of the hypercall, and the flag for a parameter in a register.
const CODE: u64 = 0xffff;
const FAST: u64 = 1 << 16;
const POST_MESSAGE: u64 = 0x5c;
const SIGNAL_EVENT: u64 = 0x5d;

const INVALID_CODE: u64 = 2;
const INVALID_INPUT: u64 = 3;
const INVALID_ALIGNMENT: u64 = 4;
const INVALID_PORT: u64 = 17;
const INVALID_CONNECTION: u64 = 18;

/// A connection's number, and the number of an event's flag, in the parameter of a fast call.
const CONNECTION: u64 = 0x00ff_ffff;
const FLAG_NUMBER: u64 = 0xffff_0000_0000;
/// The alignment of a parameter in memory.
const ALIGNMENT: u64 = 8;

/// Returns the status of a hypercall with this input value and first parameter.
#[must_use]
pub const fn status(input: u64, parameter: u64) -> u64 {
    match (input & CODE, input & FAST != 0) {
        (POST_MESSAGE, true) => INVALID_CODE,
        (POST_MESSAGE | SIGNAL_EVENT, false) if !parameter.is_multiple_of(ALIGNMENT) => INVALID_ALIGNMENT,
        (SIGNAL_EVENT, true) if parameter & FLAG_NUMBER != 0 => INVALID_PORT,
        (SIGNAL_EVENT, true) if parameter & !CONNECTION != 0 => INVALID_INPUT,
        (POST_MESSAGE | SIGNAL_EVENT, _) => INVALID_CONNECTION,
        _ => INVALID_CODE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_messages_and_events_have_no_connection() {
        assert_eq!(status(POST_MESSAGE, 0x1000), INVALID_CONNECTION);
        assert_eq!(status(POST_MESSAGE, 0x1004), INVALID_ALIGNMENT);
        assert_eq!(status(POST_MESSAGE | FAST, 0), INVALID_CODE);
        assert_eq!(status(SIGNAL_EVENT, 0x1000), INVALID_CONNECTION);
        assert_eq!(status(SIGNAL_EVENT, 1), INVALID_ALIGNMENT);
        assert_eq!(status(SIGNAL_EVENT | FAST, 7), INVALID_CONNECTION);
        assert_eq!(status(SIGNAL_EVENT | FAST, 1 << 32), INVALID_PORT);
        assert_eq!(status(SIGNAL_EVENT | FAST, 1 << 24), INVALID_INPUT);
    }

    #[test]
    fn test_other_hypercalls_are_unknown() {
        assert_eq!(status(0x69, 0), INVALID_CODE);
        assert_eq!(status(u64::MAX, 0), INVALID_CODE);
    }
}
