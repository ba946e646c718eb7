//! Many viewers ask for a keyframe, one publisher is asked: requests of the same source layer are
//! merged and spaced, because every keyframe costs all viewers bandwidth.
//!
//! Pure: time is an argument, µs.

use std::collections::BTreeMap;

/// Least time between two requests for the same layer, µs. A publisher needs about a round trip and
/// a frame to answer; asking again earlier makes it send two keyframes.
pub const MIN_SPACING: u64 = 500_000;

/// A request nobody answered is repeated after so long, µs: the packet may have been lost.
pub const REPEAT_AFTER: u64 = 1_500_000;

/// Repetitions of one request. A source that shows no keyframe then cannot be made to.
pub const MAX_REPEATS: u8 = 4;

#[derive(Debug)]
struct Layer {
    asked: Option<u64>,
    wanted: bool,
    waiting: bool,
    repeats: u8,
}

/// Requests by layer. `K` names a source's layer; the caller removes layers that end, so the table
/// is as large as the channel has layers.
#[derive(Debug)]
pub struct Keyframes<K> {
    layers: BTreeMap<K, Layer>,
    /// Requests taken.
    pub requests: u64,
    /// Requests passed on.
    pub passed: u64,
}

impl<K> Default for Keyframes<K> {
    fn default() -> Self {
        Self {
            layers: BTreeMap::new(),
            requests: 0,
            passed: 0,
        }
    }
}

impl<K: Ord + Copy> Keyframes<K> {
    /// Somebody needs a keyframe of this layer.
    pub fn request(&mut self, layer: K) {
        self.requests += 1;
        let layer = self.layers.entry(layer).or_insert(Layer {
            asked: None,
            wanted: false,
            waiting: false,
            repeats: 0,
        });
        // Whoever asks while an answer is awaited gets that answer.
        if !layer.waiting {
            layer.wanted = true;
        }
    }

    /// A keyframe of this layer came: everybody who waited has it.
    pub fn arrived(&mut self, layer: K) {
        if let Some(layer) = self.layers.get_mut(&layer) {
            (layer.wanted, layer.waiting, layer.repeats) = (false, false, 0);
        }
    }

    /// The layer ended.
    pub fn remove(&mut self, layer: K) {
        self.layers.remove(&layer);
    }

    /// Passes on what is due.
    pub fn poll(&mut self, now: u64, mut ask: impl FnMut(K)) {
        for (key, layer) in &mut self.layers {
            if layer.due().is_none_or(|due| due > now) {
                continue;
            }
            if layer.waiting {
                layer.repeats += 1;
                if layer.repeats > MAX_REPEATS {
                    (layer.waiting, layer.repeats) = (false, 0);
                    continue;
                }
            }
            (layer.asked, layer.wanted, layer.waiting) = (Some(now), false, true);
            self.passed += 1;
            ask(*key);
        }
    }

    /// When [`Keyframes::poll`] has something to do.
    pub fn due(&self) -> Option<u64> {
        self.layers.values().filter_map(Layer::due).min()
    }
}

impl Layer {
    fn due(&self) -> Option<u64> {
        if self.waiting {
            return self.asked.map(|asked| asked + REPEAT_AFTER);
        }
        self.wanted
            .then(|| self.asked.map_or(0, |asked| asked + MIN_SPACING))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polled(requests: &mut Keyframes<u8>, now: u64) -> Vec<u8> {
        let mut asked = Vec::new();
        requests.poll(now, |layer| asked.push(layer));
        asked
    }

    #[test]
    fn a_crowd_makes_one_request() {
        let mut requests = Keyframes::default();
        for _ in 0..1_000 {
            requests.request(3u8);
        }
        assert_eq!(polled(&mut requests, 10), [3]);
        for _ in 0..1_000 {
            requests.request(3);
        }
        assert_eq!(polled(&mut requests, 20), [] as [u8; 0]);
        assert_eq!((requests.requests, requests.passed), (2_000, 1));
    }

    #[test]
    fn keeps_its_distance_even_when_answered_at_once() {
        let mut requests = Keyframes::default();
        let mut passed = Vec::new();
        for now in (0..10_000_000).step_by(20_000) {
            requests.request(0u8);
            if !polled(&mut requests, now).is_empty() {
                passed.push(now);
                requests.arrived(0);
            }
        }
        assert_eq!(passed.len(), 20);
        assert!(passed.windows(2).all(|two| two[1] - two[0] >= MIN_SPACING));
    }

    #[test]
    fn repeats_what_is_not_answered_and_gives_up() {
        let mut requests = Keyframes::default();
        requests.request(0u8);
        let mut count = 0;
        for now in (0..60_000_000).step_by(100_000) {
            count += polled(&mut requests, now).len();
        }
        assert_eq!(count, 1 + usize::from(MAX_REPEATS));
        assert_eq!(requests.due(), None);
        requests.request(0);
        assert_eq!(
            polled(&mut requests, 60_000_000),
            [0],
            "and can be asked again"
        );
    }

    #[test]
    fn layers_are_apart() {
        let mut requests = Keyframes::default();
        requests.request(0u8);
        assert_eq!(polled(&mut requests, 0), [0]);
        requests.request(1);
        assert_eq!(requests.due(), Some(0));
        assert_eq!(polled(&mut requests, 1), [1]);
    }
}
