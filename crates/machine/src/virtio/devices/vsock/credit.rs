//! How much each side may send before the other has made room (section 5.10.6.3). Counters are modulo 2^32.

/// Bytes of the guest's that a stream holds for its host side: what the guest may send ahead.
pub const BUFFER: u32 = 128 << 10;

/// The two accounts of a stream.
#[derive(Clone, Debug, Default)]
pub struct Credit {
    /// Bytes of the guest's receive buffer.
    guest_buffer: u32,
    /// What the guest says it has taken out of it.
    guest_taken: u32,
    /// What was sent to the guest.
    sent: u32,
    /// What came from the guest.
    received: u32,
    /// How much of it the host side has taken.
    forwarded: u32,
    /// The `forwarded` that the guest knows of.
    told: u32,
}

impl Credit {
    /// Every packet of the guest says how much it can take.
    pub const fn update(&mut self, buf_alloc: u32, fwd_cnt: u32) {
        (self.guest_buffer, self.guest_taken) = (buf_alloc, fwd_cnt);
    }

    /// How much the guest can take; nothing when its numbers cannot be.
    pub const fn for_host(&self) -> u32 {
        self.guest_buffer.saturating_sub(self.sent.wrapping_sub(self.guest_taken))
    }

    /// Bytes on their way to the guest.
    pub const fn send(&mut self, len: u32) {
        self.sent = self.sent.wrapping_add(len);
    }

    /// Bytes from the guest; false when that is more than it may send, and then they do not count.
    #[must_use]
    pub const fn receive(&mut self, len: u32) -> bool {
        if len > BUFFER - self.held() {
            return false;
        }
        self.received = self.received.wrapping_add(len);
        true
    }

    /// Bytes that have come and were not taken yet: never more than [`BUFFER`].
    pub const fn held(&self) -> u32 {
        self.received.wrapping_sub(self.forwarded)
    }

    /// The host side has taken some of the bytes that are held.
    pub const fn forward(&mut self, len: u32) {
        self.forwarded = self.forwarded.wrapping_add(if len < self.held() { len } else { self.held() });
    }

    /// Whether the guest may soon wait for what it does not know: half the buffer has become free since it was told.
    pub const fn worth_telling(&self) -> bool {
        self.forwarded.wrapping_sub(self.told) >= BUFFER / 2
    }

    /// `fwd_cnt` of a packet to the guest.
    pub const fn tell(&mut self) -> u32 {
        self.told = self.forwarded;
        self.told
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
            let mut credit = Credit { received: u32::MAX - 1000, forwarded: u32::MAX - 1000, told: u32::MAX - 1000, ..Credit::default() };
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
