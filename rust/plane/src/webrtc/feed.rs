//! Of a publisher's simulcast layers, the one for readers that cannot choose (RTSP, WebSocket): the
//! best that comes; and, for those who choose among renditions themselves (HLS), those below it.
//!
//! A browser begins with its smallest layer, adds the others as its way proves wide enough, and
//! leaves them out again when it is not. Readers see one stream through all of that: numbers and
//! timestamps go on, and each change happens at a keyframe.
//!
//! Pure: time is an argument, µs; rates are bits a second.

use super::view::{Packet, Renumber};

/// A layer that delivers nothing for so long is not coming, µs: three pictures at 3 a second, the
/// fewest a browser sends before it leaves the layer out.
pub const STALLED: u64 = 1_000_000;

/// Over how long a rate is measured, µs.
const WINDOW: u64 = 1_000_000;

/// A layer must have this much more than the one that is relayed, in percent: rates of one layer
/// differ by so much from second to second.
const MARGIN_PERCENT: u64 = 25;

/// A keyframe that was asked for and did not come is asked for again after so long, µs.
const ASK_AGAIN: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    bytes: u64,
    since: u64,
    rate: u64,
    heard: Option<u64>,
}

impl Flow {
    fn take(&mut self, bytes: usize, now: u64) {
        if self
            .heard
            .is_none_or(|heard| now - heard.min(now) >= STALLED)
        {
            // It begins, or begins again: what it was says nothing of what it will be.
            (self.bytes, self.since, self.rate) = (0, now, 0);
        }
        self.heard = Some(now);
        self.bytes += bytes as u64;
        let elapsed = now.saturating_sub(self.since);
        if elapsed >= WINDOW {
            let measured = self.bytes * 8_000_000 / elapsed;
            // A second with a keyframe in it is not taken for a better layer.
            self.rate = if self.rate == 0 {
                measured
            } else {
                (3 * self.rate + measured) / 4
            };
            (self.bytes, self.since) = (0, now);
        }
    }

    fn comes(&self, now: u64) -> bool {
        self.heard
            .is_some_and(|heard| now.saturating_sub(heard) < STALLED)
    }
}

/// The layers of one track.
#[derive(Debug)]
pub struct Feed {
    flows: Vec<Flow>,
    /// All layers, the better ones first.
    order: Vec<usize>,
    current: Option<usize>,
    numbers: Renumber,
    asked: Option<u64>,
}

impl Feed {
    /// For so many layers of a track; numbers go on from `start`.
    pub fn new(layers: usize, clock_rate: u32, start: u16) -> Self {
        Self {
            flows: vec![Flow::default(); layers],
            order: (0..layers).collect(),
            current: None,
            numbers: Renumber::new(clock_rate, start),
            asked: None,
        }
    }

    /// The layer that is relayed.
    pub fn current(&self) -> Option<usize> {
        self.current
    }

    /// What is added to the timestamps of that layer.
    pub fn timestamp_shift(&self) -> u32 {
        self.numbers.timestamp_shift()
    }

    /// Whether a layer comes.
    pub fn comes(&self, layer: usize, now: u64) -> bool {
        self.flows.get(layer).is_some_and(|flow| flow.comes(now))
    }

    /// A layer's rate; 0 before it was measured.
    pub fn rate(&self, layer: usize) -> u64 {
        self.flows.get(layer).map_or(0, |flow| flow.rate)
    }

    /// The layer at a place among those that come, the best being at 0; the last one where they are
    /// fewer. One that was not measured yet has no place, unless none was.
    pub fn at(&self, place: usize, now: u64) -> Option<usize> {
        let comes = |layer: &&usize| self.comes(**layer, now);
        let measured = |layer: &&usize| self.rate(**layer) > 0;
        let all = || self.order.iter().filter(comes);
        let known = all().filter(measured).count();
        if known == 0 {
            return all().take(place + 1).last().copied();
        }
        let mut sorted = all().filter(measured);
        sorted.nth(place.min(known - 1)).copied()
    }

    /// A layer goes before another when it clearly is the better one.
    fn sort(&mut self) {
        for place in (1..self.order.len()).rev() {
            let (better, worse) = (self.order[place - 1], self.order[place]);
            if self.exceeds(worse, better) {
                self.order.swap(place - 1, place);
            }
        }
    }

    fn exceeds(&self, layer: usize, other: usize) -> bool {
        self.rate(layer) * 100 > self.rate(other) * (100 + MARGIN_PERCENT)
    }

    /// Takes a packet of a layer: the number and timestamp it gets in the one stream, if it is
    /// relayed there.
    pub fn take(&mut self, layer: usize, packet: &Packet, now: u64) -> Option<(u64, u32)> {
        self.flows.get_mut(layer)?.take(packet.payload.len(), now);
        self.sort();
        if self.current != Some(layer) {
            if !packet.key || !self.better(layer, now) {
                return None;
            }
            self.current = Some(layer);
            self.asked = None;
            self.numbers.restart();
        }
        self.numbers.take(packet)
    }

    fn better(&self, layer: usize, now: u64) -> bool {
        let Some(current) = self.current else {
            return true; // a small picture is better than none
        };
        !self.comes(current, now) || self.exceeds(layer, current)
    }

    /// The layer that would be better than what is relayed, when it is time to ask for its keyframe.
    pub fn wanted(&mut self, now: u64) -> Option<usize> {
        if self.asked.is_some_and(|asked| now < asked + ASK_AGAIN) {
            return None;
        }
        let coming = (0..self.flows.len()).filter(|layer| self.comes(*layer, now));
        let best = coming.max_by_key(|layer| self.rate(*layer))?;
        if self.current == Some(best) || !self.better(best, now) {
            return None;
        }
        self.asked = Some(now);
        Some(best)
    }
}

/// A rendition below the best: the layer at its place among those that come, as one stream through
/// all changes, like that of a [`Feed`].
#[derive(Debug)]
pub struct Rung {
    place: usize,
    current: Option<usize>,
    numbers: Renumber,
    asked: Option<u64>,
}

impl Rung {
    /// So many places below the best; numbers go on from `start`.
    pub fn new(place: usize, clock_rate: u32, start: u16) -> Self {
        Self {
            place,
            current: None,
            numbers: Renumber::new(clock_rate, start),
            asked: None,
        }
    }

    /// The layer it shows.
    pub fn current(&self) -> Option<usize> {
        self.current
    }

    /// What is added to the timestamps of that layer.
    pub fn timestamp_shift(&self) -> u32 {
        self.numbers.timestamp_shift()
    }

    /// Takes a packet of a layer that `feed` has taken: the number and timestamp it gets in this
    /// rendition, if it belongs there.
    pub fn take(
        &mut self,
        feed: &Feed,
        layer: usize,
        packet: &Packet,
        now: u64,
    ) -> Option<(u64, u32)> {
        if self.current != Some(layer) {
            if !packet.key || feed.at(self.place, now) != Some(layer) {
                return None;
            }
            self.current = Some(layer);
            self.asked = None;
            self.numbers.restart();
        }
        self.numbers.take(packet)
    }

    /// The layer that belongs here and is not shown yet, when it is time to ask for its keyframe.
    pub fn wanted(&mut self, feed: &Feed, now: u64) -> Option<usize> {
        let layer = feed.at(self.place, now)?;
        let asked = self.asked.is_some_and(|asked| now < asked + ASK_AGAIN);
        if asked || self.current == Some(layer) {
            return None;
        }
        self.asked = Some(now);
        Some(layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const MS: u64 = 1_000;

    /// Three layers, each with its own numbers and timestamps, 20 pictures a second.
    struct Publisher {
        feed: Feed,
        rung: Rung,
        below: Vec<(usize, u64, u32)>,
        now: u64,
        numbers: [u64; 3],
        relayed: Vec<(usize, u64, u32)>,
        asked: Vec<usize>,
    }

    impl Publisher {
        fn new() -> Self {
            Self {
                feed: Feed::new(3, 90_000, 7),
                rung: Rung::new(1, 90_000, 70),
                below: Vec::new(),
                now: 5_000_000,
                numbers: [100, 60_000, 9_000_000],
                relayed: Vec::new(),
                asked: Vec::new(),
            }
        }

        /// Layers that come send for some time; each answers a request with a keyframe.
        fn send(&mut self, layers: &[usize], ms: u64, mut keys: Vec<usize>) {
            for _ in 0..ms / 50 {
                self.now += 50 * MS;
                for layer in layers.iter().copied() {
                    self.numbers[layer] += 1;
                    let key = keys.contains(&layer);
                    keys.retain(|wanted| *wanted != layer);
                    let packet = Packet {
                        track: layer as u8,
                        key,
                        marker: true,
                        video: true,
                        number: self.numbers[layer],
                        timestamp: (self.now / 1_000 * 90 + layer as u64 * 1_000_003) as u32,
                        wall: self.now,
                        payload: Arc::from(vec![0; 200 << layer]),
                    };
                    if let Some((number, timestamp)) = self.feed.take(layer, &packet, self.now) {
                        self.relayed.push((layer, number, timestamp));
                    }
                    let taken = self.rung.take(&self.feed, layer, &packet, self.now);
                    if let Some((number, timestamp)) = taken {
                        self.below.push((layer, number, timestamp));
                    }
                }
                keys.extend(self.rung.wanted(&self.feed, self.now));
                if let Some(layer) = self.feed.wanted(self.now) {
                    self.asked.push(layer);
                    keys.push(layer);
                }
            }
        }

        fn continuous(&self) {
            for two in self.relayed.windows(2) {
                assert_eq!(two[1].1, two[0].1 + 1, "{two:?}");
                let step = two[1].2.wrapping_sub(two[0].2);
                // Two layers may show the same picture where one takes over.
                let least = if two[0].0 == two[1].0 { 4_400 } else { 1 };
                assert!(
                    (least..=4_600).contains(&step),
                    "not a picture later: {step}"
                );
            }
        }
    }

    #[test]
    fn begins_with_what_comes_and_climbs() {
        let mut publisher = Publisher::new();
        publisher.send(&[0], 3_000, vec![0]);
        assert_eq!(publisher.feed.current(), Some(0));
        publisher.send(&[0, 1], 3_000, vec![1]);
        assert_eq!(publisher.feed.current(), Some(1));
        publisher.send(&[0, 1, 2], 3_000, vec![2]);
        assert_eq!(publisher.feed.current(), Some(2));
        assert_eq!(publisher.asked, [1, 2]);
        publisher.continuous();
    }

    #[test]
    fn goes_down_when_the_best_is_left_out_and_up_when_it_is_back() {
        let mut publisher = Publisher::new();
        publisher.send(&[0, 1, 2], 4_000, vec![0, 1, 2]);
        assert_eq!(publisher.feed.current(), Some(2));
        publisher.send(&[0], 1_500, vec![]);
        assert_eq!(publisher.feed.current(), Some(0));
        publisher.send(&[0, 2], 3_000, vec![]);
        assert_eq!(publisher.feed.current(), Some(2));
        let numbers: Vec<u64> = publisher.relayed.iter().map(|one| one.1).collect();
        assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1));
    }

    #[test]
    fn nothing_is_relayed_before_a_keyframe() {
        let mut publisher = Publisher::new();
        publisher.send(&[0, 1], 40, vec![]);
        publisher.send(&[1], 50, vec![]);
        assert!(publisher.relayed.is_empty());
        assert_eq!(publisher.asked.len(), 1, "and one is asked for, once");
    }

    #[test]
    fn a_keyframe_of_a_smaller_layer_changes_nothing() {
        let mut publisher = Publisher::new();
        publisher.send(&[0, 1, 2], 4_000, vec![0, 1, 2]);
        for _ in 0..20 {
            publisher.send(&[0, 1, 2], 500, vec![0, 1]);
        }
        assert_eq!(publisher.feed.current(), Some(2));
    }
    #[test]
    fn the_rendition_below_is_the_next_best_and_goes_on_with_what_comes() {
        let mut publisher = Publisher::new();
        let mut shown = |layers: &[usize], ms, keys| {
            publisher.send(layers, ms, keys);
            let first = publisher.below[0].1;
            let numbers = publisher.below.iter().map(|one| one.1);
            assert!(numbers.eq(first..first + publisher.below.len() as u64));
            let steps = publisher.below.windows(2);
            assert!(
                steps
                    .into_iter()
                    .all(|two| two[1].2.wrapping_sub(two[0].2) < 90_000 * 2)
            );
            (publisher.feed.current(), publisher.rung.current())
        };
        assert_eq!(
            shown(&[0], 3_000, vec![0]),
            (Some(0), Some(0)),
            "the only one"
        );
        assert_eq!(shown(&[0, 1], 3_000, vec![]), (Some(1), Some(0)));
        assert_eq!(shown(&[0, 1, 2], 4_000, vec![]), (Some(2), Some(1)));
        assert_eq!(shown(&[0, 2], 3_000, vec![]), (Some(2), Some(0)));
        assert_eq!(
            shown(&[2], 3_000, vec![]),
            (Some(2), Some(2)),
            "nothing is below it"
        );
        assert_eq!(shown(&[0, 1, 2], 5_000, vec![]), (Some(2), Some(1)));
    }
}
