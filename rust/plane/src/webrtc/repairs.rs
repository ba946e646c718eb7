//! Packets that a viewer may ask for again, within bounds.
//!
//! Pure: time is an argument, µs.

use std::collections::VecDeque;
use std::sync::Arc;

/// Packets remembered for retransmission, and for how long: what is repaired later comes after its
/// picture was due. Payloads are shared with the ring, so a packet costs a viewer 50 bytes.
const PACKETS: usize = 512;
const BYTES: usize = 2 << 20;
const AGE: u64 = 1_000_000;

/// Repairs may take this part of the rate, in percent: the packets that a keyframe needs when 5 %
/// are lost in bursts take more than 15.
const SHARE: usize = 35;
/// What may be saved up for repairs, bytes: those of a second of 6 Mbit/s.
const MAX_ROOM: usize = 400 << 10;

/// A packet as it was sent.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its extended number.
    pub number: u64,
    /// Its timestamp.
    pub timestamp: u32,
    /// Its marker.
    pub marker: bool,
    /// What it carried.
    pub payload: Arc<[u8]>,
    at: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Repairs {
    /// In the order of their numbers.
    kept: VecDeque<Kept>,
    bytes: usize,
    /// Bytes that repairs may take now.
    room: usize,
}

impl Repairs {
    /// A packet was sent for the first time.
    pub fn keep(
        &mut self,
        now: u64,
        number: u64,
        timestamp: u32,
        marker: bool,
        payload: &Arc<[u8]>,
    ) {
        let size = payload.len();
        self.bytes += size;
        self.room = (self.room + size * SHARE / (100 - SHARE)).min(MAX_ROOM);
        let kept = Kept {
            number,
            timestamp,
            marker,
            payload: Arc::clone(payload),
            at: now,
        };
        if self.kept.back().is_none_or(|last| last.number < number) {
            self.kept.push_back(kept);
        } else {
            let at = self.kept.partition_point(|one| one.number < number);
            self.kept.insert(at, kept); // it came late
        }
        while let Some(first) = self.kept.front()
            && (self.kept.len() > PACKETS
                || self.bytes > BYTES
                || now.saturating_sub(first.at) > AGE)
        {
            self.bytes -= first.payload.len();
            self.kept.pop_front();
        }
    }

    /// A packet the viewer misses, if it is still there and repairs have not had their share.
    pub fn ask(&mut self, number: u16) -> Option<Kept> {
        let newest = self.kept.back()?.number;
        let back = (newest as u16).wrapping_sub(number);
        let number = newest.checked_sub(u64::from(back))?;
        let at = self.kept.binary_search_by_key(&number, |one| one.number);
        let found = self.kept.get(at.ok()?)?;
        self.room = self.room.checked_sub(found.payload.len())?;
        Some(found.clone())
    }

    /// Forgets all: repairs of a picture that is no longer shown would take the place of the sound.
    pub fn forget(&mut self) {
        self.kept.clear();
        (self.bytes, self.room) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(repairs: &mut Repairs, asked: impl IntoIterator<Item = u16>) -> Vec<u64> {
        let found = asked.into_iter().filter_map(|number| repairs.ask(number));
        found.map(|kept| kept.number).collect()
    }

    #[test]
    fn what_was_sent_is_found_by_its_short_number() {
        let mut repairs = Repairs::default();
        let payload: Arc<[u8]> = Arc::from([7; 10]);
        for number in [65_530, 65_531, 65_533, 65_532, 65_540] {
            repairs.keep(0, number, 3, true, &payload);
        }
        let found = numbers(&mut repairs, [65_532, 4, 5]);
        assert_eq!(found, [65_532, 65_540], "and what was never sent is not");
    }

    #[test]
    fn memory_is_bounded_by_count_bytes_and_age() {
        let small: Arc<[u8]> = Arc::from([0; 10]);
        let mut repairs = Repairs::default();
        for number in 0..600 {
            repairs.keep(0, number, 0, false, &small);
        }
        assert_eq!(numbers(&mut repairs, [87, 88]), [88]);
        repairs.keep(AGE + 1, 600, 0, false, &small);
        assert_eq!(numbers(&mut repairs, [599, 600]), [600]);
        let large: Arc<[u8]> = Arc::from(vec![0; 1 << 20]);
        for number in 601..604 {
            repairs.keep(AGE + 1, number, 0, false, &large);
        }
        assert!(repairs.bytes <= BYTES && repairs.kept.len() == 2);
        repairs.forget();
        assert_eq!(numbers(&mut repairs, [603]), Vec::<u64>::new());
    }

    #[test]
    fn repairs_get_their_share_and_no_more() {
        let mut repairs = Repairs::default();
        let payload: Arc<[u8]> = Arc::from([0; 1_000]);
        for number in 0..100 {
            repairs.keep(0, number, 0, false, &payload);
        }
        let again = (0..100).cycle().take(1_000);
        let repaired = numbers(&mut repairs, again).len();
        assert_eq!(repaired * 100 / (100 + repaired), 34);
    }
}
