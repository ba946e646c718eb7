//! What a viewer is sent: packets of a channel's ring under numbers of its own.
//!
//! A viewer sees one stream of pictures, whichever source or simulcast layer it comes from: numbers
//! go on by one over every change, timestamps by the time that passed. Numbers missing in the ring
//! stay missing, so that what comes late can still be put in its place.

use super::once::Once;
use std::sync::Arc;

/// A gap in the ring larger than this is closed instead of kept: nobody repairs it, and the viewer
/// would ask for every packet of it.
const MAX_GAP: u64 = 512;

/// A ring item made ready once, for all viewers.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Track within the channel.
    pub track: u8,
    /// Whether a viewer may begin here.
    pub key: bool,
    /// End of an access unit.
    pub marker: bool,
    /// Whether it is video.
    pub video: bool,
    /// Number within the track.
    pub number: u64,
    /// RTP timestamp as the channel counts.
    pub timestamp: u32,
    /// The instant of the timestamp, Unix µs: by the channel's sender reports, else its arrival.
    pub wall: u64,
    /// Payload, without the RTP header; shared by all viewers and their retransmission caches.
    pub payload: Arc<[u8]>,
}

#[derive(Clone, Copy, Debug)]
struct Stint {
    track: u8,
    first: u64,
    shift: i64,
    timestamp_shift: u32,
    highest: u64,
}

/// The numbering of one outgoing stream.
#[derive(Debug)]
pub struct Renumber {
    rate: u32,
    stint: Option<Stint>,
    highest: u64,
    last: Option<(u32, u64)>,
    begin: bool,
    used: Once,
}

impl Renumber {
    /// Counts on from `start`, below 2¹⁶ (a fresh SRTP receiver assumes rollover count 0).
    pub fn new(rate: u32, start: u16) -> Self {
        Self {
            rate,
            stint: None,
            highest: u64::from(start),
            last: None,
            begin: true,
            used: Once::default(),
        }
    }

    /// The next packet of the stream follows what was sent last, whatever its own number is.
    pub fn restart(&mut self) {
        self.begin = true;
    }

    /// What is added to timestamps of the track that was taken last.
    pub fn timestamp_shift(&self) -> u32 {
        self.stint.map_or(0, |stint| stint.timestamp_shift)
    }

    /// The number and timestamp a packet gets; `None` when another has the number: the packet belongs
    /// before the stream's beginning, or comes again. Two packets sealed under one number would give
    /// both away.
    pub fn take(&mut self, packet: &Packet) -> Option<(u64, u32)> {
        let stint = match self.stint {
            Some(stint)
                if !self.begin
                    && stint.track == packet.track
                    && packet.number.saturating_sub(stint.highest) <= MAX_GAP =>
            {
                stint
            }
            _ => self.begin(packet),
        };
        if packet.number < stint.first {
            return None;
        }
        let number = packet.number.checked_add_signed(stint.shift)?;
        if !self.used.take(number) {
            return None;
        }
        let timestamp = packet.timestamp.wrapping_add(stint.timestamp_shift);
        if number > self.highest {
            self.highest = number;
            self.last = Some((timestamp, packet.wall));
        }
        if let Some(stint) = &mut self.stint {
            stint.highest = stint.highest.max(packet.number);
        }
        Some((number, timestamp))
    }

    fn begin(&mut self, packet: &Packet) -> Stint {
        let same = self.stint.filter(|stint| stint.track == packet.track);
        let timestamp_shift = match (same, self.last) {
            // The same track counts on by itself.
            (Some(stint), _) => stint.timestamp_shift,
            (None, None) => 0,
            (None, Some((timestamp, wall))) => {
                let passed = packet.wall.saturating_sub(wall) * u64::from(self.rate) / 1_000_000;
                timestamp
                    .wrapping_add((passed as u32).max(1))
                    .wrapping_sub(packet.timestamp)
            }
        };
        let stint = Stint {
            track: packet.track,
            first: packet.number,
            shift: (self.highest + 1) as i64 - packet.number as i64,
            timestamp_shift,
            highest: packet.number,
        };
        self.begin = false;
        self.stint = Some(stint);
        stint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webrtc_support::{self as support, GOOD, MS, SECOND, World};

    #[test]
    fn what_comes_again_is_sealed_for_no_viewer_again() {
        for estimate in [None, Some(4_000_000)] {
            let mut world = World::new(GOOD);
            world.viewer(5, &support::view_options(&[400_000], estimate));
            world.run(SECOND);
            let ring: Vec<_> = (0..10)
                .map(|n| support::packet(0, true, n == 0, n, world.now + n, 500))
                .collect();
            world.shard.deliver(world.now, &[5], ring.clone());
            world.run(10 * MS);
            let sent = |world: &World| world.shard.session(5).unwrap().sent;
            assert_eq!(sent(&world), 10);
            let other = Packet {
                payload: Arc::from(&b"another"[..]),
                ..ring[7].clone()
            };
            world.shard.deliver(world.now, &[5], [other]);
            assert_eq!(sent(&world), 10, "{estimate:?}");
        }
    }

    fn packet(track: u8, number: u64, timestamp: u32, wall: u64) -> Packet {
        Packet {
            track,
            key: false,
            marker: true,
            video: true,
            number,
            timestamp,
            wall,
            payload: Arc::from(&b"x"[..]),
        }
    }

    #[test]
    fn numbers_go_on_over_a_change_of_layer() {
        let mut stream = Renumber::new(90_000, 99);
        assert_eq!(stream.take(&packet(0, 5_000, 7, 0)), Some((100, 7)));
        assert_eq!(
            stream.take(&packet(0, 5_002, 3_007, 33_333)),
            Some((102, 3_007))
        );
        assert_eq!(
            stream.take(&packet(0, 5_001, 7, 0)),
            Some((101, 7)),
            "late, and in place"
        );
        let changed = stream.take(&packet(1, 12, 4_000_000_000, 66_666));
        assert_eq!(
            changed,
            Some((103, 3_007 + 2_999)),
            "a thirtieth of a second later"
        );
        assert_eq!(
            stream.take(&packet(1, 11, 0, 0)),
            None,
            "its number is taken"
        );
        assert_eq!(stream.take(&packet(1, 12, 0, 0)), None, "and this one's");
        assert_eq!(
            stream.take(&packet(1, 13, 4_000_003_000, 99_999)),
            Some((104, 3_007 + 5_999))
        );
    }

    #[test]
    fn closes_what_was_left_out() {
        let mut stream = Renumber::new(90_000, 0);
        assert_eq!(stream.take(&packet(0, 10, 0, 0)), Some((1, 0)));
        assert_eq!(
            stream.take(&packet(0, 12, 10, 0)),
            Some((3, 10)),
            "a loss stays one"
        );
        assert_eq!(
            stream.take(&packet(0, 9_000, 900_000, 0)),
            Some((4, 900_000))
        );
        stream.restart();
        assert_eq!(
            stream.take(&packet(0, 9_010, 901_000, 0)),
            Some((5, 901_000))
        );
    }
}
