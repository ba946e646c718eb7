//! Whatever comes, reading a datagram gives a value or says that it is malformed, and what was
//! written is read back.

mod mesh_support;

use _plane::mesh::cast::Incoming;
use _plane::mesh::clock::RoundTrip;
use _plane::mesh::wire::{Body, FEEDBACK, Header, Kind, MAX_PARTS, Media, Report};
use proptest::prelude::*;

const KINDS: [Kind; 7] = [
    Kind::Media,
    Kind::Part,
    Kind::Control,
    Kind::Report,
    Kind::Goodbye,
    Kind::Wish,
    Kind::Ask,
];

fn media() -> impl Strategy<Value = Media> {
    let parts = (any::<u16>(), any::<u32>(), any::<u8>(), 0_u8..16);
    (parts, any::<u32>(), 0..u64::MAX).prop_map(|((wire, order, track, flags), epoch, number)| {
        Media {
            wire,
            order,
            track,
            flags,
            epoch,
            number,
        }
    })
}

fn report() -> impl Strategy<Value = Report> {
    let clocks = (1_u32.., any::<u32>(), any::<u32>(), any::<u64>());
    let runs = prop::collection::vec((0..FEEDBACK / 2, 1_u16..), 0..100);
    (0..FEEDBACK, 0..FEEDBACK, clocks, runs).prop_map(
        |(one, other, (stamp, echo, held, received), runs)| Report {
            next: one.max(other),
            oldest: one.min(other),
            stamp,
            echo,
            held,
            received,
            runs,
        },
    )
}

fn round(body: &Body<'_>) {
    let mut data = Vec::new();
    body.write(&mut data);
    assert_eq!(Body::parse(body.kind(), &data).as_ref(), Ok(body));
}

proptest! {
    #[test]
    fn any_bytes_are_a_value_or_malformed(data in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(header) = Header::parse(&data) {
            prop_assert_eq!(&header.bytes()[..], &data[..14]);
        }
        for kind in KINDS {
            if let Ok(body) = Body::parse(kind, &data)
                && !matches!(kind, Kind::Goodbye | Kind::Wish)
            {
                let mut again = Vec::new();
                body.write(&mut again);
                prop_assert_eq!(&again, &data);
            }
        }
    }

    #[test]
    fn what_is_written_is_read(
        media in media(), report in report(), data in prop::collection::vec(any::<u8>(), 1..50),
        count in 2..=MAX_PARTS, index in 0..MAX_PARTS, offset in any::<u64>(),
    ) {
        round(&Body::Media(media, &data));
        round(&Body::Part(media, index % count, count, &data));
        round(&Body::Control(offset, &data));
        round(&Body::Ask(media.order, report.runs.clone()));
        round(&Body::Report(report));
        round(&Body::Wish(media.wire, media.track));
    }

}

proptest! {
    // Each case is a whole link; the parsers above get the many.
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// What the peer itself sealed may be nonsense as well; a link takes it without harm.
    #[test]
    fn a_link_takes_anything_its_peer_seals(
        bodies in prop::collection::vec(
            (0_usize..7, prop::collection::vec(any::<u8>(), 0..90), 0..20_000_u64, media(), report()),
            1..60,
        ),
    ) {
        let mut link = mesh_support::end(1, 2, 10, 20, 1_000_000);
        let key = mesh_support::key(20);
        let mut now = 1_000_000;
        for (kind, data, counter, media, report) in bodies {
            let body = match KINDS[kind] {
                Kind::Media => Body::Media(media, &data),
                Kind::Part => Body::Part(media, 1, 3, &data),
                Kind::Control => Body::Control(counter, &data),
                Kind::Report => Body::Report(report),
                Kind::Goodbye => Body::Goodbye,
                Kind::Wish => Body::Wish(media.wire, media.track),
                Kind::Ask => Body::Ask(media.order, report.runs),
            };
            let counter = if body.kind().feedback() { FEEDBACK | counter } else { counter };
            let datagram = key.seal(1, counter, &body);
            let header = Header::parse(&datagram).unwrap();
            let _ = link.receive(&header, &datagram, now);
            now += 10_000;
            link.run(now);
            link.outgoing.clear();
            link.delivered.clear();
        }
    }

    /// A cast takes anything that one of its receivers seals, all of whom have its key.
    #[test]
    fn a_cast_takes_anything_that_is_sealed(
        bodies in prop::collection::vec(
            (0_usize..7, prop::collection::vec(any::<u8>(), 0..90), 0..20_000_u64, media(), report(),
             any::<bool>()),
            1..60,
        ),
    ) {
        let mut cast = Incoming::new(3, mesh_support::key(20), 200_000);
        let key = mesh_support::key(20);
        let (trip, mut now) = (RoundTrip::default(), 1_000_000);
        for (kind, data, counter, mut media, report, multicast) in bodies {
            media.wire %= 2;
            let body = match KINDS[kind] {
                Kind::Media => Body::Media(media, &data),
                Kind::Part => Body::Part(media, 1, 3, &data),
                Kind::Control => Body::Control(counter, &data),
                Kind::Report => Body::Report(report),
                Kind::Goodbye => Body::Goodbye,
                Kind::Wish => Body::Wish(media.wire, media.track),
                Kind::Ask => Body::Ask(media.order, report.runs),
            };
            let counter = if body.kind().feedback() { FEEDBACK | counter } else { counter };
            let datagram = key.seal(1, counter, &body);
            let header = Header::parse(&datagram).unwrap();
            let _ = cast.receive(&header, &datagram, multicast, &trip, now);
            now += 10_000;
            let _ = cast.run(&trip, now);
            for one in cast.delivered() {
                prop_assert_eq!(one.wire, 3);
            }
        }
    }
}
