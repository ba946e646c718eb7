//! What was sent to a viewer, by transport-wide numbers, and what became of it.
//!
//! Pure: time is an argument, µs.

use super::feedback::Arrivals;
use std::collections::VecDeque;

/// Packets remembered: a second of 12 Mbit/s.
const KEPT: usize = 1_024;
/// Loss is told of the packets of so long, µs.
const SPAN: u64 = 1_000_000;

/// Packets are judged together that were sent, or came, over so long, µs: some pictures. More than one
/// picture: what is sent at once takes its time on any path.
const WINDOW: u64 = 100_000;
const LEAST_SENT: u64 = 10_000;
/// The quickest way is believed to become longer by so much from window to window, µs: routes change,
/// and clocks run apart.
const LEAST_GROWS: i64 = 300;
/// Another clock, where ways differ by so much, µs.
const OTHER_CLOCK: i64 = 10_000_000;

#[derive(Clone, Copy, Debug)]
struct One {
    at: u64,
    /// When the viewer told of it last, and whether it had come.
    told: Option<(u64, bool)>,
}

/// How packets came that were sent one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trend {
    /// How much longer the last of them was on its way than the quickest of all, µs.
    pub queue: u64,
    /// How many times as long they took to come as they took to be sent.
    pub stretch: f32,
    /// What part of them did not come.
    pub lost: f32,
}

/// Packets that are judged together.
#[derive(Clone, Copy, Debug)]
struct Window {
    sent: u64,
    came: i64,
    packets: u32,
    lost: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Sent {
    packets: VecDeque<One>,
    /// Number of the oldest that is remembered.
    first: u64,
    /// Shortest way, by clocks that have nothing to do with each other, µs.
    least: Option<i64>,
    window: Option<Window>,
}

impl Sent {
    /// The next packet goes out now; its number.
    pub fn next(&mut self, now: u64) -> u16 {
        let number = self.first + self.packets.len() as u64;
        if self.packets.len() == KEPT {
            self.packets.pop_front();
            self.first += 1;
        }
        self.packets.push_back(One {
            at: now,
            told: None,
        });
        number as u16
    }

    /// The viewer tells what arrived. How it came is known now and then.
    pub fn tell(&mut self, now: u64, told: &Arrivals) -> Option<Trend> {
        let mut trend = None;
        let newest = self.first + self.packets.len() as u64;
        // The latest number that ends so, of those sent.
        let back = (newest as u16).wrapping_sub(told.first);
        let first = newest.checked_sub(u64::from(back))?;
        for (number, came) in (first..).zip(&told.at) {
            let Some(at) = number.checked_sub(self.first) else {
                continue;
            };
            let Some(packet) = self.packets.get_mut(at as usize) else {
                break;
            };
            let before = packet.told.replace((now, came.is_some()));
            if let Some((_, true)) = before {
                packet.told = Some((now, true)); // once there, it does not go away
            } else if before.is_none() {
                let sent = packet.at;
                trend = self.judge(sent, *came).or(trend);
            }
        }
        trend
    }

    fn judge(&mut self, sent: u64, came: Option<i64>) -> Option<Trend> {
        let Some(came) = came else {
            if let Some(window) = &mut self.window {
                window.packets += 1;
                window.lost += 1;
            }
            return None;
        };
        let way = came - sent as i64;
        let least = self
            .least
            .filter(|least| least.abs_diff(way) < OTHER_CLOCK as u64);
        let least = least.map_or(way, |least| least.min(way));
        self.least = Some(least);
        let Some(window) = &mut self.window else {
            self.window = Some(Window {
                sent,
                came,
                packets: 0,
                lost: 0,
            });
            return None;
        };
        window.packets += 1;
        let over = sent.saturating_sub(window.sent);
        let took = (came - window.came).max(0);
        if over < LEAST_SENT || over.max(took as u64) < WINDOW {
            return None;
        }
        let trend = Trend {
            queue: way.abs_diff(least),
            stretch: took as f32 / over as f32,
            lost: window.lost as f32 / window.packets as f32,
        };
        self.window = Some(Window {
            sent,
            came,
            packets: 0,
            lost: 0,
        });
        self.least = Some(least + LEAST_GROWS);
        Some(trend)
    }

    /// What part is lost of what was sent in the last second; of packets told about only, as
    /// messages are lost too.
    pub fn loss(&self, now: u64) -> Option<f32> {
        let (mut all, mut lost) = (0u32, 0u32);
        let recent = self.packets.iter().rev();
        for packet in recent.take_while(|packet| now.saturating_sub(packet.at) <= SPAN) {
            if let Some((_, came)) = packet.told {
                all += 1;
                lost += u32::from(!came);
            }
        }
        (all > 0).then(|| lost as f32 / all as f32)
    }

    /// From the sending of the newest packet told about until it was told of, µs.
    pub fn round_trip(&self) -> Option<u64> {
        self.packets
            .iter()
            .rev()
            .find_map(|packet| Some(packet.told?.0.saturating_sub(packet.at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(first: u16, came: &[bool]) -> Arrivals {
        Arrivals {
            first,
            at: came.iter().map(|came| came.then_some(0)).collect(),
        }
    }

    #[test]
    fn loss_is_that_of_the_last_second() {
        let mut sent = Sent::default();
        for n in 0..200 {
            assert_eq!(sent.next(n * 10_000), n as u16);
        }
        assert_eq!((sent.loss(2_000_000), sent.round_trip()), (None, None));
        sent.tell(2_010_000, &told(0, &[false; 100]));
        sent.tell(2_020_000, &told(100, &[true, true, true, false]));
        assert_eq!(sent.loss(2_000_000), Some(0.25));
        assert_eq!(sent.round_trip(), Some(2_020_000 - 1_030_000));
        sent.tell(2_030_000, &told(103, &[true]));
        assert_eq!(sent.loss(2_000_000), Some(0.0), "it came late");
        sent.tell(2_040_000, &told(103, &[false]));
        assert_eq!(
            sent.loss(2_000_000),
            Some(0.0),
            "and does not go away again"
        );
    }

    #[test]
    fn tells_a_path_that_fills_from_one_that_became_longer() {
        let mut sent = Sent::default();
        // A packet each 10 ms, ways in ms of those that come.
        let mut trends = |ways: &[Option<i64>]| {
            let mut found = Vec::new();
            for way in ways {
                let at = sent.first + sent.packets.len() as u64;
                let first = sent.next(at * 10_000);
                let came = way.map(|way| (at * 10_000) as i64 + way * 1_000);
                let arrivals = Arrivals {
                    first,
                    at: vec![came],
                };
                found.extend(sent.tell(at * 10_000, &arrivals));
            }
            found
        };
        let even = trends(&[Some(20); 21]);
        assert_eq!(even.len(), 2);
        assert!(
            even.iter()
                .all(|trend| trend.queue <= 1_000 && (trend.stretch - 1.0).abs() < 1e-6)
        );
        // Each takes 50 ms: told after two of them.
        let fills = trends(&[60, 100, 140, 180].map(Some));
        assert_eq!(fills.len(), 2);
        assert!(fills.iter().all(|trend| (trend.stretch - 5.0).abs() < 1e-6));
        assert!(fills[1].queue.abs_diff(160_000) < 2_000, "{fills:?}");
        let full = [
            None,
            None,
            None,
            Some(180),
            None,
            None,
            None,
            None,
            None,
            Some(180),
        ];
        let full = trends(&full);
        assert_eq!((full[0].stretch, full[0].lost), (1.0, 0.8));
    }

    #[test]
    fn numbers_go_round_and_memory_is_bounded() {
        let mut sent = Sent::default();
        for n in 0..70_000u64 {
            sent.next(n);
        }
        assert_eq!(sent.packets.len(), KEPT);
        sent.tell(70_001, &told((69_990 % 65_536) as u16, &[true; 10]));
        assert_eq!(sent.loss(70_001), Some(0.0));
        sent.tell(70_001, &told(0, &[false; 10]));
        sent.tell(70_001, &told((70_000 % 65_536) as u16, &[false; 10]));
        assert_eq!(sent.loss(70_001), Some(0.0), "long ago, or not sent yet");
    }
}
