//! What a viewer is sent: packets of a channel's ring under numbers of its own.
//!
//! A viewer sees one stream of pictures, whichever source or simulcast layer it comes from: numbers
//! go on by one over every change, timestamps by the time that passed. Numbers missing in the ring
//! stay missing, so that what comes late can still be put in its place.

use crate::ring::{Item, KEY, MARKER, RTCP};
use crate::rtcp::{self, Report};
use crate::rtp;
use std::collections::{HashMap, VecDeque};
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

/// Keyframes whose place before them is remembered: what is delivered anew, or comes late, belongs
/// behind the newest few.
const MAX_INSERTED: usize = 64;

/// Largest packet made of parameter sets; common ones have 50 bytes.
const MAX_AGGREGATE: usize = 1_200;

/// What is put into the stream before keyframes, and how that shifts the numbers behind it.
#[derive(Debug, Default)]
struct ParameterSets {
    units: Vec<Vec<u8>>,
    packet: Arc<[u8]>,
    inserted: VecDeque<u64>,
    forgotten: u64,
}

impl ParameterSets {
    /// A packet goes before this number, unless it already does.
    fn insert(&mut self, number: u64) {
        if let Err(place) = self.inserted.binary_search(&number) {
            self.inserted.insert(place, number);
            if self.inserted.len() > MAX_INSERTED {
                self.inserted.pop_front();
                self.forgotten += 1;
            }
        }
    }

    fn shifted(&self, number: u64) -> u64 {
        let before = self.inserted.partition_point(|at| *at <= number);
        number + self.forgotten + before as u64
    }
}

/// An aggregation packet (STAP-A, RFC 6184 section 5.7.1).
fn aggregate(units: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = vec![0x78];
    for unit in units {
        if packet.len() + 2 + unit.len() <= MAX_AGGREGATE {
            packet.extend_from_slice(&(unit.len() as u16).to_be_bytes());
            packet.extend_from_slice(unit);
        }
    }
    packet
}

/// Whether the first packet of a keyframe begins with a sequence parameter set.
fn has_parameter_sets(payload: &[u8]) -> bool {
    let kind = |byte: Option<&u8>| byte.map(|byte| byte & 0x1f);
    match kind(payload.first()) {
        Some(7) => true,
        Some(24) => kind(payload.get(3)) == Some(7),
        _ => false,
    }
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    wall: u64,
    rtp: u32,
}

/// Makes a channel's items ready; remembers the clocks its sender reports tell.
#[derive(Debug, Default)]
pub struct Preparer {
    rates: HashMap<u8, u32>,
    aside: HashMap<u8, ParameterSets>,
    clocks: HashMap<u8, Clock>,
    /// Items that were not RTP.
    pub malformed: u64,
}

impl Preparer {
    /// For tracks with these clock rates.
    pub fn new(rates: impl IntoIterator<Item = (u8, u32)>) -> Self {
        Self {
            rates: rates.into_iter().collect(),
            ..Self::default()
        }
    }

    /// A track counts so many units of time a second.
    pub fn set_rate(&mut self, track: u8, rate: u32) {
        self.rates.insert(track, rate);
    }

    /// A source tells a track's H.264 parameter sets aside of its packets (NAL units without start
    /// codes). Browsers look for them in the stream only, so keyframes without are given them.
    pub fn set_parameter_sets(&mut self, track: u8, units: &[Vec<u8>]) {
        let aside = self.aside.entry(track).or_default();
        if aside.units != units {
            aside.units = units.to_vec();
            aside.packet = Arc::from(aggregate(units));
        }
    }

    /// Appends what viewers are sent of these items. The payload is copied here, once.
    pub fn prepare(&mut self, items: &[Arc<Item>], out: &mut Vec<Packet>) {
        for item in items {
            if item.flags & RTCP != 0 {
                self.learn(item);
                continue;
            }
            let Ok(header) = rtp::parse(&item.data) else {
                self.malformed += 1;
                continue;
            };
            let mut packet = Packet {
                track: item.track,
                key: item.flags & KEY != 0,
                marker: header.marker || item.flags & MARKER != 0,
                video: item.video,
                number: item.number,
                timestamp: header.timestamp,
                wall: self
                    .wall(item.track, header.timestamp)
                    .unwrap_or(item.arrival),
                payload: Arc::from(&item.data[header.start..header.end]),
            };
            if let Some(aside) = self.aside.get_mut(&item.track) {
                if packet.key && !aside.units.is_empty() && !has_parameter_sets(&packet.payload) {
                    aside.insert(packet.number);
                    out.push(Packet {
                        marker: false,
                        number: aside.shifted(packet.number) - 1,
                        payload: Arc::clone(&aside.packet),
                        ..packet.clone()
                    });
                }
                packet.number = aside.shifted(packet.number);
            }
            out.push(packet);
        }
    }

    fn learn(&mut self, item: &Item) {
        for report in rtcp::parse(&item.data).into_iter().flatten() {
            if let Report::Sender { ntp, rtp, .. } = report
                && let Ok(wall) = u64::try_from(rtcp::from_ntp(ntp))
            {
                self.clocks.insert(item.track, Clock { wall, rtp });
            }
        }
    }

    fn wall(&self, track: u8, timestamp: u32) -> Option<u64> {
        let clock = self.clocks.get(&track)?;
        let rate = i64::from(*self.rates.get(&track)?).max(1);
        let units = i64::from(timestamp.wrapping_sub(clock.rtp) as i32);
        clock.wall.checked_add_signed(units * 1_000_000 / rate)
    }
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

    /// The number and timestamp a packet gets; `None` when it belongs before the stream's
    /// beginning, and its number is therefore taken.
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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn no_number_is_used_twice(
            steps in prop::collection::vec((0u8..3, 0u64..2_000, any::<bool>()), 1..200)
        ) {
            let mut stream = Renumber::new(90_000, 0);
            let mut at = [10_000u64; 3];
            let mut used = std::collections::HashMap::new();
            for (track, step, restart) in steps {
                if restart {
                    stream.restart();
                }
                let slot = &mut at[usize::from(track)];
                *slot = slot.saturating_add(step).saturating_sub(if step % 3 == 0 { 40 } else { 0 });
                if let Some((number, _)) = stream.take(&packet(track, *slot, 0, 0)) {
                    let before = used.insert(number, (track, *slot));
                    prop_assert!(before.is_none_or(|before| before == (track, *slot)));
                }
            }
        }
    }

    fn item(number: u64, payload: &[u8], flags: u8) -> Arc<Item> {
        let mut data = vec![0x80, 96];
        data.extend_from_slice(&(number as u16).to_be_bytes());
        data.extend_from_slice(&(number as u32 * 3_000).to_be_bytes());
        data.extend_from_slice(&[0; 4]);
        data.extend_from_slice(payload);
        Arc::new(Item {
            track: 1,
            epoch: 1,
            number,
            time: number * 3_000,
            arrival: number,
            flags,
            video: true,
            data: data.into(),
        })
    }

    #[test]
    fn keyframes_are_given_the_parameter_sets_told_aside() {
        let mut preparer = Preparer::new([(1, 90_000)]);
        let sets = [vec![0x67, 1, 2], vec![0x68, 3]];
        preparer.set_parameter_sets(1, &sets);
        let first = [
            item(10, &[0x41, 0], 0),
            item(11, &[0x65, 0], KEY),
            item(12, &[0x41, 0], 0),
        ];
        let mut out = Vec::new();
        preparer.prepare(&first, &mut out);
        let numbers: Vec<u64> = out.iter().map(|packet| packet.number).collect();
        assert_eq!(numbers, [10, 11, 12, 13]);
        assert_eq!(&*out[1].payload, [0x78, 0, 3, 0x67, 1, 2, 0, 2, 0x68, 3]);
        assert!(out[1].key && out[2].key && !out[1].marker);
        assert_eq!(out[1].timestamp, out[2].timestamp);

        // The same once more for a viewer who begins, and what came late: the same numbers.
        out.clear();
        preparer.prepare(&first[1..], &mut out);
        preparer.prepare(&[item(9, &[0x41, 0], 0)], &mut out);
        let numbers: Vec<u64> = out.iter().map(|packet| packet.number).collect();
        assert_eq!(numbers, [11, 12, 13, 9]);

        // A keyframe that brings its own is left as it is.
        out.clear();
        let own = [0x78, 0, 1, 0x67, 0, 1, 0x65];
        preparer.prepare(&[item(20, &own, KEY)], &mut out);
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].number, 21);
    }
}
