//! Publishers that send what was lost again on the same stream, as those made with libdatachannel.

mod webrtc_support;

use _plane::webrtc::session::PublishOptions;
use _plane::webrtc::shard::Event;
use str0m::media::{Direction, MediaKind};
use webrtc_support::{GOOD, MS, SECOND, World};

/// Number of the packet that is lost at first.
const LOST: u64 = 1_050;

/// An offer without streams for repairs (RFC 4588).
fn without_repairs(offer: &str) -> String {
    let repairs: Vec<&str> = offer
        .lines()
        .filter(|line| line.contains(" rtx/"))
        .filter_map(|line| line.strip_prefix("a=rtpmap:")?.split(' ').next())
        .collect();
    assert!(!repairs.is_empty());
    let spare: Vec<&str> = offer
        .lines()
        .filter_map(|line| line.strip_prefix("a=ssrc-group:FID ")?.split(' ').nth(1))
        .collect();
    let kept = |line: &&str| {
        let of = |name: &str, all: &[&str]| {
            let value = line.strip_prefix(name);
            value.is_some_and(|value| all.contains(&value.split(' ').next().unwrap()))
        };
        !line.starts_with("a=ssrc-group:")
            && !of("a=ssrc:", &spare)
            && !of("a=rtpmap:", &repairs)
            && !of("a=fmtp:", &repairs)
    };
    let written = |line: &str| match line.strip_prefix("m=video ") {
        Some(_) => {
            let words = line.split(' ').filter(|word| !repairs.contains(word));
            words.collect::<Vec<_>>().join(" ")
        }
        None => line.to_owned(),
    };
    let lines: Vec<String> = offer.lines().filter(kept).map(written).collect();
    lines.join("\r\n") + "\r\n"
}

/// Requests for lost packets that a publisher gets who has sent all but one at once, and that one late.
fn asked(change: impl Fn(&str) -> String) -> (u64, bool) {
    let mut world = World::new(GOOD);
    let client = world.client(|api| {
        api.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
        api.add_media(MediaKind::Video, Direction::SendOnly, None, None, None)
    });
    let offer = change(&client.offer);
    let answer = world
        .take_publisher(1, &offer, &PublishOptions::default())
        .unwrap();
    let n = world.answer(client, &answer);
    world.run(3 * SECOND);
    assert!(world.clients[n].connected);
    let video = world.clients[n].video;
    for number in LOST - 50..LOST + 50 {
        if number != LOST {
            world.publish(n, video, None, number, &[7; 600]);
        }
        if number == LOST + 5 {
            world.publish(n, video, None, LOST, &[7; 600]);
        }
        world.run(20 * MS);
    }
    world.run(2 * SECOND);
    let came = |event: &Event| matches!(event, Event::Media(1, media) if media.number == LOST);
    (world.clients[n].nacks, world.events.iter().any(came))
}

#[test]
fn what_is_lost_is_asked_for_again_and_taken_late() {
    let (asked, came) = asked(without_repairs);
    assert!((1..=10).contains(&asked), "{asked} requests");
    assert!(came, "the repeated packet was not taken");
}

#[test]
fn who_does_not_offer_to_be_asked_is_not() {
    let silent = |offer: &str| {
        let lines = without_repairs(offer);
        let kept: Vec<&str> = lines.lines().filter(|l| !l.ends_with(" nack")).collect();
        kept.join("\r\n") + "\r\n"
    };
    assert_eq!(asked(silent), (0, true));
}
