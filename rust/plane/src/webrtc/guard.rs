//! A fault that one peer brings about, of ours or of the protocol stack's, ends that peer's session:
//! nobody else's, and not the thread. What it was is on the standard error, where panics are told.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does some work; `None` when it panicked, and what it worked on is to be used no more.
///
/// Where nothing is wrong this costs a call that is not inlined.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// A panic for tests to bring about at a place.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// Where a datagram is taken.
    Datagram,
    /// Where a session speaks.
    Poll,
    /// Where a fragment is taken.
    Patch,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webrtc::Refused;
    use crate::webrtc::session::{Closed, PublishOptions};
    use crate::webrtc::shard::Event;
    use crate::webrtc_support::{GOOD, MS, SECOND, World, packet, view_options};

    /// Two viewers that see a picture each 10 ms, and what the second one got.
    fn play(world: &mut World, numbers: std::ops::Range<u64>) -> usize {
        for number in numbers {
            let item = packet(0, true, number == 0, number, world.now, 500);
            world.shard.deliver(world.now, &[1, 2], [item]);
            world.run(10 * MS);
        }
        let video = |packet: &&str0m::rtp::RtpPacket| packet.payload.len() == 500;
        world.clients[1].packets.iter().filter(video).count()
    }

    #[test]
    fn a_fault_ends_the_session_that_brought_it_about_and_no_other() {
        for trap in [Trap::Datagram, Trap::Poll, Trap::Patch] {
            let mut world = World::new(GOOD);
            for id in [1, 2] {
                world.viewer(id, &view_options(&[0], None));
            }
            world.run(SECOND);
            let before = play(&mut world, 0..20);
            assert_eq!(before, 20);
            world.shard.lay(1, trap);
            if trap == Trap::Patch {
                let answer = world.shard.patch(world.now, 1, "a=end-of-candidates\r\n");
                assert_eq!(answer, Err(Refused::Fault));
            }
            world.ask_keyframe(0); // a datagram that comes
            assert_eq!(play(&mut world, 20..60) - before, 40, "{trap:?}");
            assert!(world.shard.session(1).is_none() && world.shard.session(2).is_some());
            assert_eq!(world.shard.counters().faults, 1);
            let ended = |event: &&Event| matches!(event, Event::Closed(..));
            let ends: Vec<_> = world.events.iter().filter(ended).collect();
            assert!(
                matches!(ends[..], [Event::Closed(1, Closed::Failed)]),
                "{trap:?}: {ends:?}"
            );
        }
    }

    #[test]
    fn an_offer_that_brings_a_fault_about_is_told_from_a_malformed_one() {
        let mut world = World::new(GOOD);
        let offer = "v=0\r\na=x-trap\r\n";
        let published = world.take_publisher(1, offer, &PublishOptions::default());
        assert_eq!(published, Err(Refused::Fault));
        let viewed = world.take_viewer(1, offer, &view_options(&[0], None));
        assert_eq!(viewed, Err(Refused::Fault));
        let malformed = world.take_viewer(1, "v=0\r\n", &view_options(&[0], None));
        assert!(matches!(malformed, Err(ref why) if *why != Refused::Fault));
        assert!(world.shard.is_empty());
    }
}
