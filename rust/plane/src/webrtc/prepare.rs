//! A channel's items made ready for viewers: once, for all of them.
//!
//! H.264 whose parameter sets are told aside of its packets gets them into the stream, which shifts
//! the numbers behind them: for all viewers alike, and never those that were given before.

use super::view::Packet;
use crate::ring::{Item, KEY, MARKER, RTCP};
use crate::rtcp::{self, Report};
use crate::rtp;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

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
    /// The newest place that was forgotten: how far numbers before it are shifted is not known.
    floor: u64,
    /// The highest number given so far.
    highest: Option<u64>,
}

impl ParameterSets {
    /// Whether a packet goes before this number. It does not where that would shift numbers that
    /// were given already: two packets sealed under one number would give both away.
    fn insert(&mut self, number: u64) -> bool {
        if self.inserted.binary_search(&number).is_ok() {
            return true;
        }
        if self.highest.is_some_and(|highest| number <= highest) {
            return false;
        }
        self.inserted.push_back(number);
        if self.inserted.len() > MAX_INSERTED
            && let Some(oldest) = self.inserted.pop_front()
        {
            self.forgotten += 1;
            self.floor = oldest;
        }
        true
    }

    /// The number that stands for this one; `None` for what is too old to have one.
    fn shifted(&mut self, number: u64) -> Option<u64> {
        if number < self.floor {
            return None;
        }
        self.highest = self.highest.max(Some(number));
        let before = self.inserted.partition_point(|at| *at <= number);
        Some(number + self.forgotten + before as u64)
    }

    /// Nobody has been given a number.
    fn restart(&mut self) {
        self.inserted.clear();
        (self.forgotten, self.floor, self.highest) = (0, 0, None);
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

    /// Whoever has been given packets is gone: keyframes that were prepared without their parameter
    /// sets, because those behind them had gone out, may have them now.
    pub fn restart(&mut self) {
        for aside in self.aside.values_mut() {
            aside.restart();
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
            let aside = self.aside.entry(item.track).or_default();
            let sets = packet.key
                && !aside.units.is_empty()
                && !has_parameter_sets(&packet.payload)
                && aside.insert(packet.number);
            let Some(number) = aside.shifted(packet.number) else {
                continue;
            };
            packet.number = number;
            if sets {
                out.push(Packet {
                    marker: false,
                    number: number - 1,
                    payload: Arc::clone(&aside.packet),
                    ..packet.clone()
                });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webrtc::view::Renumber;
    use proptest::prelude::*;

    fn item(number: u64, payload: &[u8], flags: u8) -> Arc<Item> {
        item_of(1, number, payload, flags)
    }

    fn item_of(track: u8, number: u64, payload: &[u8], flags: u8) -> Arc<Item> {
        let mut data = vec![0x80, 96];
        data.extend_from_slice(&(number as u16).to_be_bytes());
        data.extend_from_slice(&(number as u32 * 3_000).to_be_bytes());
        data.extend_from_slice(&[0; 4]);
        data.extend_from_slice(payload);
        Arc::new(Item {
            track,
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

    fn numbers(preparer: &mut Preparer, items: &[Arc<Item>]) -> Vec<u64> {
        let mut out = Vec::new();
        preparer.prepare(items, &mut out);
        out.iter().map(|packet| packet.number).collect()
    }

    #[test]
    fn a_keyframe_that_comes_late_shifts_nothing_that_was_given() {
        let mut preparer = Preparer::new([(1, 90_000)]);
        preparer.set_parameter_sets(1, &[vec![0x67, 1, 2], vec![0x68, 3]]);
        let came = [
            item(10, &[0x41, 0], 0),
            item(12, &[0x41, 0], 0),
            item(11, &[0x65, 0], KEY),
            item(13, &[0x41, 0], 0),
            item(14, &[0x65, 0], KEY),
            item(15, &[0x41, 0], 0),
        ];
        assert_eq!(
            numbers(&mut preparer, &came),
            [10, 12, 11, 13, 14, 15, 16],
            "the next keyframe has them again"
        );
        assert_eq!(numbers(&mut preparer, &came[2..4]), [11, 13], "and anew");

        // For whoever comes when everybody has left there is nothing to be kept.
        preparer.restart();
        assert_eq!(numbers(&mut preparer, &came[2..]), [11, 12, 14, 15, 16, 17]);
    }

    #[test]
    fn what_was_given_before_the_sets_were_told_is_not_shifted() {
        let mut preparer = Preparer::new([(1, 90_000)]);
        let came = [item(11, &[0x65, 0], KEY), item(12, &[0x41, 0], 0)];
        assert_eq!(numbers(&mut preparer, &came), [11, 12]);
        preparer.set_parameter_sets(1, &[vec![0x67, 1, 2], vec![0x68, 3]]);
        assert_eq!(numbers(&mut preparer, &came), [11, 12]);
    }

    #[test]
    fn what_is_older_than_all_places_remembered_has_no_number() {
        let mut preparer = Preparer::new([(1, 90_000)]);
        preparer.set_parameter_sets(1, &[vec![0x67, 1, 2], vec![0x68, 3]]);
        let keys = 100 + MAX_INSERTED as u64;
        let came: Vec<_> = (100..=keys).map(|n| item(n, &[0x65, 0], KEY)).collect();
        assert_eq!(numbers(&mut preparer, &came).len(), 2 * came.len());
        assert_eq!(numbers(&mut preparer, &[item(99, &[0x41], 0)]), [0; 0]);
        assert_eq!(numbers(&mut preparer, &came[..2]), [101, 102, 103]);
    }

    proptest! {
        /// Numbers of three tracks in any order, of which some come again; keyframes need parameter
        /// sets on two of the tracks.
        #[test]
        fn no_number_is_used_twice(
            steps in prop::collection::vec(
                (0u8..3, prop_oneof![0u64..6, 0u64..2_000], 0u64..12, any::<bool>(), 0u8..8),
                1..400,
            )
        ) {
            let mut preparer = Preparer::new([]);
            preparer.set_parameter_sets(0, &[vec![0x67, 1, 2], vec![0x68, 3]]);
            preparer.set_parameter_sets(1, &[vec![0x67, 1, 2], vec![0x68, 3]]);
            let mut stream = Renumber::new(90_000, 0);
            let mut at = [10_000u64; 3];
            let mut used = HashMap::new();
            let mut prepared = Vec::new();
            for (track, step, back, key, restart) in steps {
                let slot = &mut at[usize::from(track)];
                *slot += step;
                let number = *slot - if step % 3 == 0 { back } else { 0 };
                let flags = if key { KEY } else { 0 };
                prepared.clear();
                preparer.prepare(&[item_of(track, number, &[0x65, 0], flags)], &mut prepared);
                for (place, packet) in prepared.iter().enumerate() {
                    // As where a viewer begins with a picture.
                    if restart == 0 && place == 0 {
                        stream.restart();
                    }
                    if let Some((out, _)) = stream.take(packet) {
                        let own = (track, number, packet.payload.clone());
                        let before = used.insert(out, own.clone());
                        prop_assert!(before.is_none_or(|before| before == own));
                    }
                }
            }
        }
    }
}
