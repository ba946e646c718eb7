//! Whether the path to a viewer has room for a channel's only picture, and how the picture comes back
//! when it has room again.
//!
//! Where a publisher sends several renditions, the bandwidth is estimated and packets are paced
//! ([`super::layers`]), which doubles what a packet costs. Of a single rendition there is nothing to
//! choose: all goes out as it comes. When the viewer reports that much is lost, or tells that packets
//! come slower than they are sent, the picture is left out, so that the sound gets through. After a
//! pause the picture is sent again, slowly at first and then faster, until it keeps up or the path
//! fills: so the attempt costs the sound next to nothing.
//!
//! Pure: time is an argument, µs; rates are bits a second.

use super::sent::Trend;

/// How often a viewer's reports are looked at, µs.
pub const REPORT_EVERY: u64 = 300_000;

/// Loss within a second that the sound does not stand: so much and half of it a look before, or less
/// in two looks running or behind a full queue. Radio links lose less; a path that was cut to a fifth
/// loses most.
const LOSS_AT_ONCE: f32 = 0.4;
const LOSS_TWICE: f32 = 0.25;

/// Loss that falls by so much from look to look is over: the path was away for a moment, and is back.
const FALLING: f32 = 0.05;

/// Loss that repairs make up for, unless a queue that is full causes it: then it lasts, and repairs
/// make it worse. A queue adds this to the round trip, µs; so many looks running.
const LOSS_OF_QUEUE: f32 = 0.08;
const QUEUE: u64 = 150_000;
const LOOKS_OF_QUEUE: u32 = 5;

/// Packets that come so many times slower than they are sent fill a queue; one of so many µs that does
/// not go away, while so much is lost, or that grows from look to look, is the path's: what came in a
/// burst, or late once, is through at the next look. A path that became longer is none.
const STRETCH: f32 = 1.5;
const FILLING: u64 = 100_000;
const FULL_LOSS: f32 = 0.2;
const LOOKS_OF_FILLING: u32 = 3;

/// While the rate climbs, loss and delay, µs, that end the attempt.
const CLIMB_LOSS: f32 = 0.1;
const CLIMB_QUEUE: u64 = 80_000;

/// Where a climb begins, and how it goes on: by half as much again in each step, µs.
const CLIMB_FROM: u64 = 150_000;
const CLIMB_STEP: u64 = 200_000;

/// No path is tried faster.
const CLIMB_TO: u64 = 100_000_000;

/// A climb takes so long at least, µs: earlier there is no report of it.
const CLIMB_LEAST: u64 = 600_000;

/// What a climb may send at a stretch, as time at its rate, µs.
const BURST: u64 = 20_000;

/// Pause before the picture is tried again, µs, and after the first attempts have failed: each costs
/// the publisher a keyframe, but nobody waits more than 5 s for the picture once there is room.
const PAUSE: u64 = 1_500_000;
const PATIENT_ATTEMPTS: u32 = 5;
const LONG_PAUSE: u64 = 3_000_000;

/// A picture that is lost again within this time counts as a failed attempt, µs.
const RELAPSE: u64 = 10_000_000;

/// The least round trip is believed to grow so much from look to look, µs: routes change.
const LEAST_GROWS: u64 = 1_000;

#[derive(Clone, Copy, Debug)]
struct Climb {
    began: u64,
    rate: u64,
    raised: u64,
    filled: u64,
    /// Bits that may be sent now; below 0 after a packet that was larger than what was left.
    room: i64,
}

/// The path to one viewer. See the module.
#[derive(Debug, Default)]
pub struct Path {
    least: Option<u64>,
    /// Loss at the last look.
    before: f32,
    lossy: u32,
    full: u32,
    /// The queue that was filling at the last look at arrivals, µs, and for how many looks.
    filling: Option<(u64, u32)>,
    interrupted: bool,
    climb: Option<Climb>,
    /// The rate at which the last climb failed.
    failed_at: Option<u64>,
    failures: u32,
    level_since: Option<u64>,
}

impl Path {
    /// The viewer reports what part was lost in the last second, and the round trip, µs. `true` when
    /// the picture is to be left out from now on.
    pub fn report(&mut self, now: u64, loss: f32, round_trip: Option<u64>) -> bool {
        let queue = round_trip.map_or(0, |round_trip| self.queue(round_trip));
        let before = std::mem::replace(&mut self.before, loss);
        if let Some(climb) = self.climb {
            if loss < CLIMB_LOSS && queue < CLIMB_QUEUE {
                return false;
            }
            self.fail(climb);
            return true;
        }
        if self.interrupted {
            return false;
        }
        let lasts = loss > before - FALLING;
        let counted = |holds: bool, looks: u32| if holds { looks + 1 } else { 0 };
        let lossy = lasts && loss >= LOSS_TWICE && before >= LOSS_TWICE / 2.0;
        self.lossy = counted(lossy, self.lossy);
        self.full = counted(loss >= LOSS_OF_QUEUE && queue >= QUEUE, self.full);
        // Behind a queue that is full there is no doubt.
        let jammed = loss >= LOSS_TWICE && queue >= QUEUE;
        let at_once = lasts && loss >= LOSS_AT_ONCE && before >= LOSS_AT_ONCE / 2.0;
        if !jammed && !at_once && self.lossy < 2 && self.full < LOOKS_OF_QUEUE {
            return false;
        }
        self.fall(now);
        true
    }

    /// The viewer tells when packets came, several times as often as it reports. `true` when the picture
    /// is to be left out from now on.
    pub fn arrived(&mut self, now: u64, trend: Trend) -> bool {
        if let Some(climb) = self.climb {
            if trend.queue < CLIMB_QUEUE {
                return false;
            }
            self.fail(climb);
            return true;
        }
        let more = trend.stretch >= STRETCH;
        let before = self.filling.take();
        if self.interrupted || trend.queue < FILLING {
            return false;
        }
        let (queue, looks) = before.unwrap_or((0, 0));
        let looks = if more && trend.queue > queue {
            looks + 1
        } else {
            0
        };
        let stays = before.is_some() && trend.queue >= queue * 3 / 4;
        if stays && (trend.lost >= FULL_LOSS || looks >= LOOKS_OF_FILLING) {
            self.fall(now);
            return true;
        }
        self.filling = more.then_some((trend.queue, looks));
        false
    }

    /// The picture is left out: for the first time, or soon after it came back.
    fn fall(&mut self, now: u64) {
        let relapsed = |since: u64| now.saturating_sub(since) < RELAPSE;
        if self.level_since.take().is_some_and(relapsed) {
            self.failures += 1;
        } else {
            (self.failures, self.failed_at) = (0, None);
        }
        self.interrupt();
    }

    /// An attempt has failed.
    fn fail(&mut self, climb: Climb) {
        self.failed_at = Some(climb.rate);
        self.failures += 1;
        self.interrupt();
    }

    fn queue(&mut self, round_trip: u64) -> u64 {
        let least = self.least.map_or(round_trip, |least| {
            round_trip.min(least.saturating_add(LEAST_GROWS))
        });
        self.least = Some(least);
        round_trip - least
    }

    fn interrupt(&mut self) {
        (self.lossy, self.full, self.filling) = (0, 0, None);
        (self.interrupted, self.climb) = (true, None);
    }

    /// How long the picture stays away now, µs.
    pub fn pause(&self) -> u64 {
        if self.failures < PATIENT_ATTEMPTS {
            PAUSE
        } else {
            LONG_PAUSE
        }
    }

    /// The picture begins with a keyframe. After an interruption its packets wait for
    /// [`Path::admits`].
    pub fn begin(&mut self, now: u64) {
        if !std::mem::take(&mut self.interrupted) {
            return;
        }
        let rate = self.failed_at.map_or(CLIMB_FROM, |rate| rate * 6 / 10);
        self.climb = Some(Climb {
            began: now,
            rate: rate.max(CLIMB_FROM),
            raised: now,
            filled: now,
            room: 0,
        });
    }

    /// Gives an attempt up: more waits than should.
    pub fn give_up(&mut self) {
        if let Some(climb) = self.climb {
            self.fail(climb);
        }
    }

    /// Whether packets wait for their turn.
    pub fn climbing(&self) -> bool {
        self.climb.is_some()
    }

    /// Time passes: more may be sent.
    pub fn refill(&mut self, now: u64) {
        let Some(climb) = &mut self.climb else {
            return;
        };
        while climb.rate < CLIMB_TO && now.saturating_sub(climb.raised) >= CLIMB_STEP {
            climb.raised += CLIMB_STEP;
            climb.rate = (climb.rate + climb.rate / 2).min(CLIMB_TO);
        }
        let passed = now.saturating_sub(climb.filled).min(BURST);
        climb.filled = now;
        let most = (climb.rate * BURST / 1_000_000) as i64;
        climb.room = (climb.room + (climb.rate * passed / 1_000_000) as i64).min(most);
    }

    /// Whether a packet of so many bytes may be sent now.
    pub fn admits(&mut self, bytes: usize) -> bool {
        let Some(climb) = &mut self.climb else {
            return true;
        };
        if climb.room <= 0 {
            return false;
        }
        climb.room -= bytes as i64 * 8;
        true
    }

    /// Nothing waits: the picture keeps up, if it has done so for a while.
    pub fn level(&mut self, now: u64) {
        if self
            .climb
            .is_some_and(|climb| now.saturating_sub(climb.began) >= CLIMB_LEAST)
        {
            self.climb = None;
            self.level_since = Some(now);
        }
    }

    /// When packets that wait are to be looked at again.
    pub fn due(&self) -> Option<u64> {
        self.climb.map(|climb| climb.filled + BURST / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    /// Looks at so many reports; how many it took until the picture was left out.
    fn looks(path: &mut Path, most: u32, loss: f32, round_trip: u64) -> Option<u32> {
        (1..=most).find(|n| path.report(u64::from(*n) * REPORT_EVERY, loss, Some(round_trip)))
    }

    #[test]
    fn loss_that_repairs_make_up_for_costs_no_picture() {
        let mut path = Path::default();
        assert_eq!(looks(&mut path, 1_000, 0.15, 30 * MS), None, "a radio link");
        assert_eq!(looks(&mut path, 1_000, 0.0, 400 * MS), None, "a detour");
        for n in 0..1_000 {
            let loss = if n % 3 == 0 { 0.3 } else { 0.0 };
            assert!(!path.report(n * REPORT_EVERY, loss, None), "a gust");
        }
        for away in [0.3, 0.6, 0.95] {
            assert!(!path.report(0, 0.0, Some(30 * MS)));
            let mut loss = away;
            while loss > 0.0 {
                assert!(!path.report(0, loss, Some(30 * MS)), "another access point");
                loss -= 0.3;
            }
        }
    }

    #[test]
    fn much_loss_or_a_full_queue_costs_the_picture() {
        assert_eq!(looks(&mut Path::default(), 9, 0.8, 30 * MS), Some(2));
        assert_eq!(looks(&mut Path::default(), 9, 0.3, 30 * MS), Some(3));
        let mut path = Path::default();
        let cut_to_a_fifth = [0.0, 0.25, 0.5, 0.8].map(|loss| path.report(0, loss, None));
        assert_eq!(cut_to_a_fifth, [false, false, true, false]);
        let mut path = Path::default();
        assert!(!path.report(0, 0.0, Some(20 * MS)));
        assert_eq!(looks(&mut path, 9, 0.1, 320 * MS), Some(LOOKS_OF_QUEUE));
        assert_eq!(
            looks(&mut path, 9, 0.9, 320 * MS),
            None,
            "it is out already"
        );
    }

    #[test]
    fn a_queue_that_fills_and_stays_costs_the_picture_at_once() {
        let trend = |queue, stretch, lost| Trend {
            queue: queue * MS,
            stretch,
            lost,
        };
        let mut path = Path::default();
        assert!(!path.arrived(0, trend(300, 4.0, 0.0)), "filling");
        assert!(path.arrived(1, trend(400, 1.0, 0.8)), "full");
        assert!(!path.arrived(2, trend(400, 1.0, 0.8)), "it is out already");
        let mut path = Path::default();
        assert!(!path.arrived(0, trend(110, 1.6, 0.0)));
        assert!(!path.arrived(1, trend(170, 1.6, 0.0)));
        assert!(path.arrived(2, trend(230, 1.6, 0.0)), "slowly too");

        let mut path = Path::default();
        for gust in 0..1_000 {
            assert!(
                !path.arrived(gust, trend(300, 4.0, 0.2)),
                "away for a moment"
            );
            assert!(!path.arrived(gust, trend(10, 0.0, 0.0)), "and all there");
        }
        assert!(!path.arrived(0, trend(400, 4.0, 0.0)));
        for _ in 0..1_000 {
            assert!(!path.arrived(0, trend(400, 1.0, 0.05)), "a detour");
        }
    }

    /// Sends all that may be sent for a while; bits a second.
    fn sends(path: &mut Path, from: u64, duration: u64) -> u64 {
        let mut bits = 0;
        for now in (from..from + duration).step_by(5_000) {
            path.refill(now);
            while path.climbing() && path.admits(1_200) {
                bits += 1_200 * 8;
            }
        }
        bits * 1_000_000 / duration
    }

    #[test]
    fn the_picture_comes_back_slowly_and_then_faster() {
        let mut path = Path::default();
        assert_eq!(looks(&mut path, 9, 0.8, 20 * MS), Some(2));
        path.begin(0);
        let first = sends(&mut path, 0, CLIMB_STEP);
        assert!((100_000..=250_000).contains(&first), "{first}");
        let rates: Vec<u64> = (1..8)
            .map(|n| sends(&mut path, n * CLIMB_STEP, CLIMB_STEP))
            .collect();
        assert!(rates.windows(2).all(|two| two[1] > two[0]), "{rates:?}");
        assert!(rates[6] > 2_000_000, "{rates:?}");
        path.level(8 * CLIMB_STEP);
        assert!(!path.climbing());
        assert!(path.admits(1 << 20));
    }

    #[test]
    fn a_climb_is_bounded_however_long_nobody_looked() {
        let mut path = Path::default();
        looks(&mut path, 9, 0.8, 20 * MS);
        path.begin(0);
        let day = 86_400_000_000;
        path.refill(day);
        assert!(path.due().is_some_and(|due| due > day), "not at once again");
        let sent = sends(&mut path, day, CLIMB_STEP);
        assert!(sent <= CLIMB_TO + CLIMB_TO / 10, "{sent}");
    }

    #[test]
    fn an_attempt_ends_when_the_path_fills_and_the_next_begins_below() {
        let mut path = Path::default();
        looks(&mut path, 9, 0.8, 20 * MS);
        path.begin(0);
        sends(&mut path, 0, 4 * CLIMB_STEP);
        assert!(!path.report(1, 0.0, Some(60 * MS)));
        assert!(path.report(2, 0.0, Some(150 * MS)), "a queue grows");
        assert!(!path.climbing());
        path.begin(0);
        let again = sends(&mut path, 0, CLIMB_STEP);
        assert!((200_000..400_000).contains(&again), "{again}");
    }

    #[test]
    fn attempts_become_rare() {
        let mut path = Path::default();
        looks(&mut path, 9, 0.8, 20 * MS);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            pauses.push(path.pause());
            path.begin(0);
            assert!(path.report(1, 0.5, None));
        }
        assert_eq!(pauses[..5], [PAUSE; 5]);
        assert_eq!(pauses[5..], [LONG_PAUSE; 7]);
    }
}
