//! Credit-based flow control (section 5.10.6.3): how much each side may send before the other side has freed buffer space. Counters are
//! modulo 2^32.

/// Size of the receive buffer that the device advertises to the guest, in bytes: the most that the guest may send ahead.
pub const BUFFER: u32 = 128 << 10;

/// The credit counters of a stream, for both directions.
#[derive(Clone, Debug, Default)]
pub struct Credit {
    /// `buf_alloc` of the guest: size of its receive buffer in bytes.
    guest_buffer: u32,
    /// `fwd_cnt` of the guest: bytes that it has taken out of its receive buffer.
    guest_taken: u32,
    /// Bytes sent to the guest.
    sent: u32,
    /// Bytes received from the guest.
    received: u32,
    /// Received bytes that the host side has taken.
    forwarded: u32,
    /// The value of `forwarded` in the last packet to the guest.
    advertised: u32,
}

impl Credit {
    /// Updates the guest's credit from a packet's header; every packet has these fields.
    pub const fn update(&mut self, buf_alloc: u32, fwd_cnt: u32) {
        (self.guest_buffer, self.guest_taken) = (buf_alloc, fwd_cnt);
    }

    /// Returns how much the guest can receive; 0 if its numbers are inconsistent.
    pub const fn for_host(&self) -> u32 {
        self.guest_buffer.saturating_sub(self.sent.wrapping_sub(self.guest_taken))
    }

    /// Counts bytes that are sent to the guest.
    pub const fn send(&mut self, len: u32) {
        self.sent = self.sent.wrapping_add(len);
    }

    /// Counts bytes from the guest. If they exceed the guest's credit, returns false and does not count them.
    #[must_use]
    pub const fn receive(&mut self, len: u32) -> bool {
        if len > BUFFER - self.held() {
            return false;
        }
        self.received = self.received.wrapping_add(len);
        true
    }

    /// Returns the bytes that were received and not yet taken, at most [`BUFFER`].
    pub const fn held(&self) -> u32 {
        self.received.wrapping_sub(self.forwarded)
    }

    /// Counts held bytes that the host side has taken.
    pub const fn forward(&mut self, len: u32) {
        self.forwarded = self.forwarded.wrapping_add(if len < self.held() { len } else { self.held() });
    }

    /// True if half of the buffer has become free since the last packet to the guest. The guest may soon wait for that space.
    pub const fn update_is_due(&self) -> bool {
        self.forwarded.wrapping_sub(self.advertised) >= BUFFER / 2
    }

    /// Returns `fwd_cnt` for a packet to the guest, and records it as advertised.
    pub const fn advertise(&mut self) -> u32 {
        self.advertised = self.forwarded;
        self.advertised
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn test_no_numbers_of_a_guest_make_the_buffer_grow(
            steps in prop::collection::vec((any::<u32>(), any::<u32>(), 0..BUFFER * 2, 0..BUFFER * 2), 0..64)
        ) {
            let mut credit = Credit { received: u32::MAX - 1000, forwarded: u32::MAX - 1000, advertised: u32::MAX - 1000, ..Credit::default() };
            for (buf_alloc, fwd_cnt, received, forwarded) in steps {
                credit.update(buf_alloc, fwd_cnt);
                prop_assert!(credit.for_host() <= buf_alloc);
                let held = credit.held();
                prop_assert_eq!(credit.receive(received), held + received <= BUFFER);
                prop_assert!(credit.held() <= BUFFER);
                credit.forward(forwarded);
                prop_assert!(credit.held() <= BUFFER);
            }
        }

        #[test]
        fn test_no_more_is_in_flight_than_the_guest_has_room_for(steps in prop::collection::vec((0..5000_u32, 0..5000_u32), 0..200)) {
            const ROOM: u32 = 4096;
            let start = u32::MAX - 10_000;
            let (mut credit, mut taken, mut in_flight) = (Credit { sent: start, ..Credit::default() }, start, 0);
            credit.update(ROOM, taken);
            for (send, take) in steps {
                let send = send.min(credit.for_host());
                credit.send(send);
                in_flight += send;
                prop_assert!(in_flight <= ROOM);
                let take = take.min(in_flight);
                in_flight -= take;
                taken = taken.wrapping_add(take);
                credit.update(ROOM, taken);
                prop_assert_eq!(credit.for_host(), ROOM - in_flight);
            }
        }
    }
}
