//! What a reader counts on one track.

use crate::media::RTP_HEADER;
use crate::stamp;

/// Counters of one track of one reader since the window began.
#[derive(Default, Clone)]
pub struct Track {
    started: bool,
    first: u64,
    last: u64,
    stamped: u64,
    first_number: u32,
    last_number: u32,
    /// RTP packets.
    pub packets: u64,
    /// Bytes of RTP packets, headers included.
    pub bytes: u64,
    /// When the last frame was complete, µs (0: none yet).
    pub frame_us: u64,
    /// Longest time between frames, µs.
    pub gap_us: u64,
}

/// What one packet brought.
#[derive(Default)]
pub struct Seen {
    /// One-way delay, for a stamped packet that ends a frame, µs.
    pub delay_us: Option<u64>,
    /// Time since the frame before, for a packet that ends a frame, µs.
    pub interval_us: Option<u64>,
}

impl Track {
    /// Starts a new window; the time of the last frame stays.
    pub fn restart(&mut self) {
        *self = Self {
            frame_us: self.frame_us,
            ..Self::default()
        };
    }

    /// Counts a packet by its first bytes and its whole length.
    pub fn packet(&mut self, head: &[u8], length: usize, audio: bool, now_us: u64) -> Seen {
        if !self.count(head, length) {
            return Seen::default();
        }
        let offset = RTP_HEADER
            + if audio {
                stamp::AUDIO_OFFSET
            } else {
                stamp::VIDEO_OFFSET
            };
        let stamp = head.get(offset..).and_then(stamp::read);
        if let Some(stamp) = stamp {
            if self.stamped == 0 {
                self.first_number = stamp.number;
            }
            self.last_number = stamp.number;
            self.stamped += 1;
        }
        if audio || head[1] & 0x80 != 0 {
            self.frame(stamp.map(|stamp| stamp.sent_us), now_us)
        } else {
            Seen::default()
        }
    }

    /// Counts a packet whose payload cannot be read; `sent_us` is known from elsewhere.
    pub fn sealed(
        &mut self,
        head: &[u8],
        length: usize,
        sent_us: Option<u64>,
        now_us: u64,
    ) -> Seen {
        if self.count(head, length) && head[1] & 0x80 != 0 {
            self.frame(sent_us, now_us)
        } else {
            Seen::default()
        }
    }

    /// Counts a packet by its header; false when it has none.
    fn count(&mut self, head: &[u8], length: usize) -> bool {
        if head.len() < RTP_HEADER || head[0] >> 6 != 2 {
            return false;
        }
        let sequence = u16::from_be_bytes([head[2], head[3]]);
        if self.started {
            // Signed distance to the newest: unwraps and puts up with reordering (RFC 3550 A.1).
            let step = sequence.wrapping_sub(self.last as u16).cast_signed();
            if step > 0 {
                self.last += step as u64;
            }
        } else {
            self.started = true;
            self.first = u64::from(sequence);
            self.last = self.first;
        }
        self.packets += 1;
        self.bytes += length as u64;
        true
    }

    /// A frame is complete.
    fn frame(&mut self, sent_us: Option<u64>, now_us: u64) -> Seen {
        let mut seen = Seen::default();
        if self.frame_us != 0 {
            let interval = now_us.saturating_sub(self.frame_us);
            seen.interval_us = Some(interval);
            self.gap_us = self.gap_us.max(interval);
        }
        self.frame_us = now_us;
        seen.delay_us = sent_us.map(|sent_us| now_us.saturating_sub(sent_us));
        seen
    }

    /// Packets missing by RTP sequence number: lost behind the server.
    pub fn lost(&self) -> u64 {
        if self.started {
            (self.last - self.first + 1).saturating_sub(self.packets)
        } else {
            0
        }
    }

    /// Packets missing by the publisher's numbers: lost anywhere, also where a server that numbers
    /// packets anew has not received them.
    pub fn lost_end_to_end(&self) -> u64 {
        if self.stamped == 0 {
            return 0;
        }
        let span = self.last_number.wrapping_sub(self.first_number) & stamp::NUMBER_MASK;
        (u64::from(span) + 1).saturating_sub(self.stamped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16, number: u32, marker: bool) -> Vec<u8> {
        let mut packet = vec![0x80, if marker { 0xE0 } else { 0x60 }];
        packet.extend(sequence.to_be_bytes());
        packet.resize(RTP_HEADER + stamp::VIDEO_OFFSET + stamp::LEN, 0);
        let stamp = stamp::Stamp {
            sent_us: 100,
            number,
        };
        stamp::write(
            &mut packet[RTP_HEADER + stamp::VIDEO_OFFSET..],
            stamp,
            false,
        );
        packet
    }

    #[test]
    fn loss_is_counted_over_the_wrap_and_reordering() {
        let mut track = Track::default();
        for sequence in [65_534, 65_535, 1, 0, 3] {
            track.packet(&packet(sequence, 0, false), 1200, false, 0);
        }
        assert_eq!((track.lost(), track.packets), (1, 5));
    }

    #[test]
    fn renumbering_does_not_hide_loss() {
        let mut track = Track::default();
        for (sequence, number) in [(1, stamp::NUMBER_MASK), (2, 0), (3, 4)] {
            track.packet(&packet(sequence, number, false), 1200, false, 0);
        }
        assert_eq!((track.lost(), track.lost_end_to_end()), (0, 3));
    }

    #[test]
    fn delay_and_interval_are_taken_at_the_end_of_a_frame() {
        let mut track = Track::default();
        assert!(
            track
                .packet(&packet(1, 0, false), 64, false, 150)
                .delay_us
                .is_none()
        );
        let seen = track.packet(&packet(2, 1, true), 64, false, 150);
        assert_eq!((seen.delay_us, seen.interval_us), (Some(50), None));
        let seen = track.packet(&packet(3, 2, true), 64, false, 190);
        assert_eq!((seen.delay_us, seen.interval_us), (Some(90), Some(40)));
        assert_eq!(track.gap_us, 40);
    }
}
