//! The choice of simulcast layers on a simulated clock.

use _plane::webrtc::layers::{Action, Chooser, HOLD_RETURN, HOLD_UP, Layer};
use proptest::prelude::*;

const MS: u64 = 1_000;

fn layers() -> Vec<Layer> {
    let layer = |track, rate| Layer { track, rate };
    vec![layer(2, 1_500_000), layer(0, 150_000), layer(1, 500_000)]
}

/// A chooser whose source answers every request with a keyframe 100 ms later.
struct Viewer {
    chooser: Chooser,
    now: u64,
    coming: Vec<(u64, u8)>,
    switches: Vec<(u64, Option<u8>)>,
}

impl Viewer {
    fn new() -> Self {
        Self {
            chooser: Chooser::new(layers(), 40_000),
            now: 0,
            coming: Vec::new(),
            switches: Vec::new(),
        }
    }

    fn note(&mut self, action: Option<Action>) -> bool {
        match action {
            None => return false,
            Some(Action::RequestKeyframe(track)) => self.coming.push((self.now + 100 * MS, track)),
            Some(Action::DropVideo) => self.switches.push((self.now, None)),
            Some(Action::Switch(track)) => self.switches.push((self.now, Some(track))),
        }
        true
    }

    fn run(&mut self, until: u64, estimate: u64) {
        while self.now < until {
            self.now += 20 * MS;
            self.chooser.estimate(estimate);
            let now = self.now;
            let due: Vec<u8> = self
                .coming
                .iter()
                .filter(|c| c.0 <= now)
                .map(|c| c.1)
                .collect();
            self.coming.retain(|c| c.0 > now);
            for track in due {
                let action = self.chooser.keyframe(track, now);
                self.note(action);
            }
            let mut turns = 0;
            loop {
                let action = self.chooser.poll(now);
                if !self.note(action) {
                    break;
                }
                turns += 1;
                assert!(turns < 4, "it goes on deciding");
            }
        }
    }
}

#[test]
fn begins_with_the_best_and_asks_for_its_keyframe() {
    let mut viewer = Viewer::new();
    viewer.run(500 * MS, 5_000_000);
    assert_eq!(viewer.switches, [(120 * MS, Some(2))]);
}

#[test]
fn goes_down_at_once_and_up_after_a_while() {
    let mut viewer = Viewer::new();
    viewer.run(1_000 * MS, 5_000_000);
    viewer.run(3_000 * MS, 1_400_000);
    assert_eq!(viewer.chooser.current(), Some(1));
    let (at, _) = viewer.switches[1];
    assert!(at <= 1_200 * MS, "within a keyframe's time, not at {at}");
    viewer.run(10_000 * MS, 1_700_000);
    assert_eq!(
        viewer.chooser.current(),
        Some(1),
        "no headroom for the best"
    );
    viewer.run(10_000 * MS + HOLD_UP - 100 * MS, 2_500_000);
    assert_eq!(
        viewer.chooser.current(),
        Some(1),
        "it has not held long enough"
    );
    viewer.run(10_000 * MS + HOLD_UP + 300 * MS, 2_500_000);
    assert_eq!(viewer.chooser.current(), Some(2));
}

#[test]
fn drops_the_picture_and_brings_it_back_on_a_keyframe() {
    let mut viewer = Viewer::new();
    viewer.run(1_000 * MS, 5_000_000);
    viewer.run(5_000 * MS, 100_000);
    assert_eq!(viewer.chooser.current(), None);
    assert_eq!(viewer.switches[1], (1_020 * MS, None), "at once");
    viewer.run(5_000 * MS + HOLD_RETURN + 300 * MS, 5_000_000);
    assert_eq!(viewer.chooser.current(), Some(2));
    assert!(
        viewer.switches.last().unwrap().0 < 10_000 * MS,
        "within five seconds"
    );
}

#[test]
fn a_flapping_estimate_is_tried_less_and_less() {
    let mut viewer = Viewer::new();
    viewer.run(1_000 * MS, 600_000);
    for _ in 0..10 {
        let now = viewer.now;
        viewer.run(now + 5_000 * MS, 2_500_000);
        viewer.run(now + 5_500 * MS, 700_000);
    }
    let climbs = viewer.switches.iter().filter(|s| s.1 == Some(2)).count();
    assert!((1..=4).contains(&climbs), "{climbs} climbs in ten tries");
}

#[test]
fn without_an_estimate_the_best_is_aimed_at_as_soon_as_it_comes() {
    let mut chooser = Chooser::new(vec![layers()[1]], 40_000);
    assert_eq!(chooser.poll(0), Some(Action::RequestKeyframe(0)));
    assert_eq!(chooser.keyframe(0, 0), Some(Action::Switch(0)));
    chooser.set_layers(layers());
    assert_eq!(chooser.poll(1), Some(Action::RequestKeyframe(2)));
    assert_eq!(chooser.current(), Some(0), "until its keyframe comes");
    assert_eq!(chooser.keyframe(2, 2), Some(Action::Switch(2)));
}

#[test]
fn a_limit_is_kept() {
    let mut viewer = Viewer::new();
    viewer.run(1_000 * MS, 5_000_000);
    viewer.chooser.set_limit(Some(1));
    viewer.run(20_000 * MS, 50_000_000);
    assert_eq!(viewer.chooser.current(), Some(1));
    viewer.chooser.set_limit(None);
    viewer.run(30_000 * MS, 50_000_000);
    assert_eq!(viewer.chooser.current(), Some(2));
}

proptest! {
    /// Whatever the estimate does: what is shown fits it half a second later, and what changes was
    /// begun by a keyframe.
    #[test]
    fn what_is_shown_fits(steps in prop::collection::vec((20u64..4_000, 50_000u64..3_000_000), 1..40)) {
        let mut viewer = Viewer::new();
        for (ms, estimate) in steps {
            let until = viewer.now + ms * MS;
            viewer.run(until, estimate);
            if ms > 500 {
                let shown = viewer.chooser.current();
                let rate = layers().iter().find(|l| Some(l.track) == shown).map_or(0, |l| l.rate);
                prop_assert!(shown.is_none() || rate + 40_000 <= estimate, "{rate} in {estimate}");
            }
        }
    }
}
