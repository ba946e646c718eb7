//! Offers and fragments that are nearly right: each is taken or refused for a reason, never with a
//! fault of ours.

mod webrtc_support;

use _plane::webrtc::session::{Output, PublishOptions, ServerOptions, Session, Transport};
use _plane::webrtc::{Refused, Timeline};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use webrtc_support::{GOOD, SECOND, START, World, server, view_options};

/// Offers tried; a few seconds on a slow machine.
const CASES: u32 = 150;

const OBS: [&str; 7] = [
    include_str!("../../../tests/data/webrtc/obs-av1.sdp"),
    include_str!("../../../tests/data/webrtc/obs-gathered.sdp"),
    include_str!("../../../tests/data/webrtc/obs-h264.sdp"),
    include_str!("../../../tests/data/webrtc/obs-hevc.sdp"),
    include_str!("../../../tests/data/webrtc/obs-sections.sdp"),
    include_str!("../../../tests/data/webrtc/obs-simulcast.sdp"),
    include_str!("../../../tests/data/webrtc/obs-single.sdp"),
];

/// A browser's, of which only what matters is kept.
const BROWSER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\n\
    a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0 13\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
    a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=ice-options:trickle\r\n\
    a=fingerprint:sha-256 D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\n\
    a=setup:actpass\r\na=mid:0\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
    a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=sendrecv\r\na=msid:a b\r\na=rtcp-mux\r\n\
    a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
    a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:13 CN/8000\r\n\
    a=ssrc:1 cname:x\r\na=ssrc:1 msid:a b\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 45 46\r\nc=IN IP4 0.0.0.0\r\n\
    a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=ice-options:trickle\r\n\
    a=fingerprint:sha-256 D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\n\
    a=setup:actpass\r\na=mid:1\r\na=extmap:14 urn:ietf:params:rtp-hdrext:toffset\r\n\
    a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
    a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
    a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
    a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\na=sendrecv\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
    a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 goog-remb\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 ccm fir\r\n\
    a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
    a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 nack pli\r\n\
    a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n\
    a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\na=rtpmap:45 AV1/90000\r\n\
    a=fmtp:45 level-idx=5;profile=0;tier=0\r\na=rtpmap:46 rtx/90000\r\na=fmtp:46 apt=45\r\n\
    a=ssrc-group:FID 2 3\r\na=ssrc:2 cname:x\r\na=ssrc:3 cname:x\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n\
    a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
    a=fingerprint:sha-256 D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\n\
    a=setup:actpass\r\na=mid:2\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n";

const FRAGMENTS: [&str; 3] = [
    "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
        a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0\r\n\
        a=candidate:3471623853 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active\r\n\
        a=candidate:1 1 udp 1694498815 198.51.100.3 4000 typ srflx raddr 192.0.2.1 rport 61764\r\n\
        a=end-of-candidates\r\n",
    "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n",
    "a=ice-options:ice2\r\na=ice-ufrag:restarted\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n\
        a=candidate:1 1 udp 1 6b6e5d62-cf3b-4d5b-a3bc-c3a4c4b52ee1.local 4000 typ host\r\n\
        a=candidate:1 1 udp 1 2001:db8::1 4000 typ host ufrag restarted\r\n",
];

/// Bytes that mean something to whoever reads.
const TELLING: &[u8] = b"\r\n \t:;,=/+-_~.09afAZ\0\x7f\xc3\xff";

/// What is done to a text.
#[derive(Clone, Debug)]
enum Change {
    Drop(usize),
    Repeat(usize, usize),
    Swap(usize, usize),
    Borrow(usize, usize),
    Set(usize, u8),
    Insert(usize, u8),
    Cut(usize, usize),
    Truncate(usize),
    Number(usize, u64),
    Section(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = || any::<usize>();
    let byte = || prop_oneof![3 => prop::sample::select(TELLING), 1 => any::<u8>()];
    let number = prop_oneof![
        prop::sample::select(vec![
            0,
            1,
            127,
            128,
            255,
            256,
            65_535,
            65_536,
            1 << 32,
            u64::MAX
        ]),
        any::<u64>()
    ];
    prop_oneof![
        4 => at().prop_map(Change::Drop),
        2 => (at(), 1usize..40).prop_map(|(at, times)| Change::Repeat(at, times)),
        3 => (at(), at()).prop_map(|(a, b)| Change::Swap(a, b)),
        3 => (at(), at()).prop_map(|(from, to)| Change::Borrow(from, to)),
        3 => (at(), byte()).prop_map(|(at, byte)| Change::Set(at, byte)),
        3 => (at(), byte()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        2 => (at(), 1usize..30).prop_map(|(at, length)| Change::Cut(at, length)),
        1 => at().prop_map(Change::Truncate),
        3 => (at(), number).prop_map(|(at, number)| Change::Number(at, number)),
        2 => (at(), 1usize..40).prop_map(|(at, times)| Change::Section(at, times)),
    ]
}

fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines.map(<[u8]>::to_vec).collect()
}

fn apply(text: &mut Vec<u8>, other: &[u8], change: &Change) {
    let mut all = lines(text);
    let (bytes, count) = (text.len(), all.len());
    if bytes == 0 {
        return;
    }
    match *change {
        Change::Drop(at) => drop(all.remove(at % count)),
        Change::Repeat(at, times) => {
            let line = all[at % count].clone();
            all.splice(at % count..at % count, vec![line; times]);
        }
        Change::Swap(a, b) => all.swap(a % count, b % count),
        Change::Borrow(from, to) => {
            let others = lines(other);
            all.insert(to % count, others[from % others.len()].clone());
        }
        Change::Set(at, byte) => text[at % bytes] = byte,
        Change::Insert(at, byte) => text.insert(at % bytes, byte),
        Change::Cut(at, length) => {
            let at = at % bytes;
            text.drain(at..(at + length).min(bytes));
        }
        Change::Truncate(at) => text.truncate(at % bytes),
        Change::Number(at, number) => {
            let from = at % bytes;
            let digit = |byte: &u8| byte.is_ascii_digit();
            if let Some(start) = text[from..].iter().position(digit) {
                let start = from + start;
                let digits = text[start..].iter().take_while(|byte| digit(byte)).count();
                text.splice(start..start + digits, number.to_string().into_bytes());
            }
        }
        Change::Section(at, times) => {
            let begins = |line: &Vec<u8>| line.starts_with(b"m=");
            let starts: Vec<usize> = (0..count).filter(|at| begins(&all[*at])).collect();
            if let Some(start) = starts.get(at % starts.len().max(1)) {
                let end = starts.iter().find(|next| *next > start).unwrap_or(&count);
                let section = all[*start..*end].to_vec();
                for _ in 0..times {
                    all.splice(start..start, section.iter().cloned());
                }
            }
        }
    }
    let whole_lines = matches!(
        change,
        Change::Drop(_)
            | Change::Repeat(..)
            | Change::Swap(..)
            | Change::Borrow(..)
            | Change::Section(..)
    );
    if whole_lines {
        *text = all.concat();
    }
}

fn changed(text: &str, other: &str, changes: &[Change]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for change in changes {
        apply(&mut bytes, other.as_bytes(), change);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Those of real peers, of a browser, and of a peer that speaks as we do.
fn offers() -> Vec<String> {
    let mut world = World::new(GOOD);
    let ours = world.offers(&["h", "m", "l"]);
    let real = OBS.iter().map(|text| text.replace('\n', "\r\n"));
    real.chain([BROWSER.to_owned()]).chain(ours).collect()
}

/// Lets a session say all it has to say.
fn drain(session: &mut Session, now: u64) {
    while !matches!(session.poll(now), Output::Due(_) | Output::Closed(_)) {}
}

fn judge(
    made: Result<(Session, String), Refused>,
    fragments: &[String],
) -> Result<bool, TestCaseError> {
    let (mut session, answer) = match made {
        Ok(made) => made,
        Err(refused) => {
            prop_assert!(!matches!(refused, Refused::Fault));
            return Ok(false);
        }
    };
    prop_assert!(answer.starts_with("v=0\r\n"));
    drain(&mut session, START);
    for fragment in fragments {
        if let Err(refused) = session.patch(fragment, START) {
            prop_assert!(matches!(refused, Refused::Malformed(_) | Refused::TooLarge));
        }
        drain(&mut session, START);
    }
    for passed in [1, SECOND, 40 * SECOND] {
        drain(&mut session, START + passed);
    }
    Ok(true)
}

#[test]
fn what_is_nearly_an_offer_is_taken_or_refused_for_a_reason() {
    let offers = offers();
    let server = ServerOptions::new(vec![(Transport::Udp, server()), (Transport::Tcp, server())]);
    let (server, timeline) = (server.unwrap(), Timeline::new(START));
    let viewed = [
        view_options(&[1_000_000], None),
        view_options(&[300_000, 1_000_000], Some(4_000_000)),
    ];
    let (taken, refused) = (Cell::new(0), Cell::new(0));
    let some = |most| prop::collection::vec(change(), 0..most);
    let strategy = (
        any::<usize>(),
        any::<usize>(),
        some(6),
        some(4),
        any::<bool>(),
    );
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&strategy, |(at, other, changes, bent, paced)| {
        let other = &offers[other % offers.len()];
        let offer = changed(&offers[at % offers.len()], other, &changes);
        // A viewer's differs in its direction.
        let turned = offer.replace("a=sendonly", "a=recvonly");
        let fragments = FRAGMENTS.map(|fragment| changed(fragment, &offer, &bent));
        let published =
            Session::publish(&offer, &server, &PublishOptions::default(), timeline, START);
        let options = &viewed[usize::from(paced)];
        let viewed = Session::view(&turned, &server, options, timeline, START);
        for well in [judge(published, &fragments)?, judge(viewed, &fragments)?] {
            let count = if well { &taken } else { &refused };
            count.set(count.get() + 1);
        }
        Ok(())
    });
    result.unwrap();
    let (taken, refused) = (taken.get(), refused.get());
    assert!(
        taken > CASES / 4 && refused > CASES / 4,
        "{taken} {refused}"
    );
}
