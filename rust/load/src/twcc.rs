//! Transport-wide feedback as browsers send it
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).

/// Packets one message tells of at most: at 10 messages a second far more than arrive.
const MAX_PACKETS: usize = 4096;
/// Ticks of a receive delta, µs.
const TICK_US: i64 = 250;
/// Ticks of the reference time, µs.
const REFERENCE_US: u64 = 64_000;
const RECEIVER: [u8; 4] = [0x48, 0x45, 0x4C, 0x4F];

/// Arrivals since the last message.
#[derive(Default)]
pub struct Arrivals {
    next: Option<u64>,
    highest: u64,
    seen: Vec<(u64, u64)>,
    messages: u8,
}

impl Arrivals {
    /// A packet with a transport-wide number arrived.
    pub fn add(&mut self, number: u16, at_us: u64) {
        let step = number.wrapping_sub(self.highest as u16).cast_signed();
        let whole = if self.next.is_none() && self.seen.is_empty() {
            u64::from(number) + (1 << 16)
        } else {
            self.highest.wrapping_add_signed(i64::from(step))
        };
        self.highest = self.highest.max(whole);
        if self.seen.len() < MAX_PACKETS && self.next.is_none_or(|next| whole >= next) {
            self.seen.push((whole, at_us));
        }
    }

    /// The message about what arrived, as an RTCP packet; nothing without arrivals.
    pub fn message(&mut self, media: u32) -> Option<Vec<u8>> {
        self.seen.sort_unstable();
        self.seen.dedup_by_key(|(number, _)| *number);
        let (oldest, newest) = (self.seen.first()?.0, self.seen.last()?.0);
        let first = self
            .next
            .unwrap_or(oldest)
            .max(oldest.saturating_sub(MAX_PACKETS as u64));
        let count = (newest - first + 1).min(u64::from(u16::MAX));
        let mut clock = self.seen.iter().map(|seen| seen.1).min()? / REFERENCE_US * REFERENCE_US;
        let reference = clock / REFERENCE_US;
        let (mut runs, mut deltas): (Vec<(u16, u16)>, Vec<u8>) = (Vec::new(), Vec::new());
        let mut seen = self.seen.iter().peekable();
        for number in first..first + count {
            let symbol = match seen.next_if(|(seen, _)| *seen == number) {
                None => 0,
                Some((_, at)) => {
                    let ticks = (*at as i64 - clock as i64).div_euclid(TICK_US);
                    clock = (clock as i64 + ticks * TICK_US) as u64;
                    if let Ok(small) = u8::try_from(ticks) {
                        deltas.push(small);
                        1
                    } else {
                        let large = ticks.clamp(i64::from(i16::MIN), i64::from(i16::MAX));
                        deltas.extend((large as i16).to_be_bytes());
                        2
                    }
                }
            };
            match runs.last_mut() {
                Some((last, length)) if *last == symbol && *length < 0x1FFF => *length += 1,
                _ => runs.push((symbol, 1)),
            }
        }
        self.seen.clear();
        self.next = Some(first + count);
        let mut packet = vec![0x80 | 15, 205, 0, 0];
        packet.extend(RECEIVER);
        packet.extend(media.to_be_bytes());
        packet.extend((first as u16).to_be_bytes());
        packet.extend((count as u16).to_be_bytes());
        packet.extend(&(reference as u32).to_be_bytes()[1..]);
        packet.push(self.messages);
        self.messages = self.messages.wrapping_add(1);
        for (symbol, length) in runs {
            packet.extend((symbol << 13 | length).to_be_bytes());
        }
        packet.extend(deltas);
        let padding = packet.len().next_multiple_of(4) - packet.len();
        if padding > 0 {
            packet.resize(packet.len() + padding, 0);
            packet[0] |= 0x20;
            if let Some(last) = packet.last_mut() {
                *last = padding as u8;
            }
        }
        let words = (packet.len() / 4 - 1) as u16;
        packet[2..4].copy_from_slice(&words.to_be_bytes());
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_came_when_and_what_did_not() {
        let mut arrivals = Arrivals::default();
        for (number, at) in [(65_535, 64_000), (0, 65_000), (3, 66_000)] {
            arrivals.add(number, at);
        }
        let packet = arrivals.message(7).unwrap();
        assert_eq!(&packet[..4], &[0xAF, 205, 0, 7]);
        assert_eq!(&packet[8..12], &7u32.to_be_bytes());
        assert_eq!(
            &packet[12..16],
            &[0xFF, 0xFF, 0, 5],
            "from 65535, five packets"
        );
        assert_eq!(
            &packet[16..20],
            &[0, 0, 1, 0],
            "reference 64 ms, first message"
        );
        // Two came, two did not, one came.
        assert_eq!(&packet[20..26], &[0x20, 2, 0, 2, 0x20, 1]);
        assert_eq!(&packet[26..29], &[0, 4, 4]);
        assert!(arrivals.message(7).is_none());
        arrivals.add(5, 130_000);
        let packet = arrivals.message(7).unwrap();
        assert_eq!(&packet[12..16], &[0, 4, 0, 2], "goes on where it ended");
        assert_eq!(packet[19], 1);
    }

    #[test]
    fn long_pauses_take_two_bytes() {
        let mut arrivals = Arrivals::default();
        arrivals.add(1, 0);
        arrivals.add(2, 100_000);
        let packet = arrivals.message(1).unwrap();
        assert_eq!(&packet[20..24], &[0x20, 1, 0x40, 1]);
        assert_eq!(&packet[24..27], &[0, 1, 0x90]);
    }
}
