//! What readers of titles want and count besides: several titles at many places, lateness, content.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::args::Args;
use crate::due::{Digests, Due};
use crate::json::Object;
use crate::rtsp::{self, Message, Url};
use crate::stats::Samples;
use crate::sys;

/// How long apart what happened is told, µs.
const TICK_US: u64 = 1_000_000;

/// What all readers of titles have in common.
pub struct Titles {
    /// The first `length_s` seconds of each title are where readers begin.
    length_s: f64,
    late_us: u64,
    supported: String,
    ahead_us: u64,
    record: String,
    check: Option<Digests>,
    lateness: Samples,
    tick: Samples,
    tick_late: u64,
    tick_due_us: u64,
    late: u64,
}

/// What one reader of a title counts.
#[derive(Default)]
pub struct Counts {
    tracks: Vec<Due>,
    late: u64,
    granted: bool,
    /// What each node sent: its first and newest number since the window began, and how many came.
    nodes: BTreeMap<u16, (u32, u32, u64)>,
}

impl Titles {
    /// Reads `--due`, without which readers read a channel, and what belongs to it.
    pub fn new(args: &Args) -> Result<Option<Self>, String> {
        if args.text("due", "") != "true" {
            return Ok(None);
        }
        let check = match args.text("check", "") {
            "" => None,
            path => Some(Digests::read(path)?),
        };
        Ok(Some(Self {
            length_s: args.number("length", 0.0)?,
            late_us: args.number("late-us", 20_000)?,
            supported: args.text("supported", "").to_owned(),
            ahead_us: (args.number("ahead", 0.0)? * 1e6) as u64,
            record: args.text("record", "").to_owned(),
            check,
            lateness: Samples::new(),
            tick: Samples::new(),
            tick_late: 0,
            tick_due_us: 0,
            late: 0,
        }))
    }

    /// Whether packets are looked at as a whole.
    pub fn whole(&self) -> bool {
        self.check.is_some() || !self.record.is_empty()
    }

    /// Where a reader begins, of so many, on so many titles: each title's are spread over it.
    pub fn begin_s(&self, index: usize, count: usize, titles: usize) -> f64 {
        let (place, places) = (index / titles, count.div_ceil(titles));
        self.length_s * place as f64 / places.max(1) as f64
    }

    /// Headers of DESCRIBE and SETUP.
    pub fn headers(&self) -> String {
        let mut text = String::new();
        if !self.supported.is_empty() {
            let _ = write!(text, "Supported: {}\r\n", self.supported);
        }
        if self.ahead_us > 0 {
            let _ = write!(text, "Bipartite: ahead={}\r\n", self.ahead_us);
        }
        text
    }

    /// Takes a packet of a track.
    pub fn packet(&mut self, to: &mut Counts, track: usize, head: &[u8], at_us: u64, window: bool) {
        let whole = self.whole();
        let Some(due) = to.tracks.get_mut(track) else {
            return;
        };
        if whole {
            due.note(head);
        }
        let Some(late_us) = due.late_us(head, at_us) else {
            return;
        };
        if window {
            to.node(head);
        }
        self.tick.add(late_us);
        let late = u64::from(late_us > self.late_us);
        self.tick_late += late;
        if window {
            self.lateness.add(late_us);
            self.late += late;
            to.late += late;
        }
    }

    /// Tells of the last second, once it is over.
    pub fn tick(&mut self, now: u64) {
        if now < self.tick_due_us {
            return;
        }
        self.tick_due_us = now + TICK_US;
        let tick = std::mem::replace(&mut self.tick, Samples::new());
        Object::new()
            .text("event", "second")
            .int("at_us", now)
            .int("late", std::mem::take(&mut self.tick_late))
            .object("lateness", tick.summary())
            .print();
    }

    /// Forgets what was before the window; what came of the content stays.
    pub fn restart(&mut self) {
        self.lateness.clear();
        self.late = 0;
    }

    /// Adds what was counted by those who play; writes what the first of them saw.
    pub fn report<'a>(
        self,
        to: Object,
        readers: impl Iterator<Item = &'a Counts>,
    ) -> Result<Object, String> {
        let (mut with_late, mut wrong, mut missing, mut granted, mut gone) = (0, 0, 0, 0, 0);
        for (index, reader) in readers.enumerate() {
            with_late += u64::from(reader.late > 0);
            granted += u64::from(reader.granted);
            gone += reader.lost();
            if index == 0 && !self.record.is_empty() {
                let seen = reader.tracks.iter().map(|track| track.seen.clone());
                Digests(seen.collect()).write(&self.record)?;
            }
            for (track, wanted) in self.check.iter().flat_map(|all| all.0.iter().enumerate()) {
                let judged = reader.tracks.get(track).map(|due| due.judge(wanted));
                let (bad, lacking) = judged.unwrap_or((0, wanted.len() as u64));
                wrong += bad;
                missing += lacking;
            }
        }
        Ok(to
            .int("late", self.late)
            .int("readers_late", with_late)
            .int("granted", granted)
            .int("nodes_lost", gone)
            .int("wrong", wrong)
            .int("missing", missing)
            .object("lateness", self.lateness.summary()))
    }
}

impl Counts {
    /// For the tracks of an SDP.
    pub fn new(sdp: &str) -> Self {
        Self {
            tracks: rtsp::clocks(sdp).into_iter().map(Due::new).collect(),
            late: 0,
            granted: false,
            nodes: BTreeMap::new(),
        }
    }

    /// Takes the answer to SETUP: whether the server does what was asked for beyond the usual, and
    /// what the track's packets are known by (RFC 2326 12.39).
    pub fn set_up(&mut self, message: &Message<'_>, track: usize) {
        self.granted |= message.header("Supported").is_some();
        let told = message.header("Transport").and_then(|transport| {
            transport
                .split(';')
                .find_map(|part| part.strip_prefix("ssrc="))
        });
        if let Some(due) = self.tracks.get_mut(track) {
            due.ssrc = told.and_then(|text| u32::from_str_radix(text.trim(), 16).ok());
        }
    }

    /// Whether a packet is of that track, as far as the server told.
    pub fn knows(&self, track: usize, head: &[u8]) -> bool {
        let wanted = self.tracks.get(track).and_then(|due| due.ssrc);
        wanted.is_none_or(|ssrc| head.get(8..12) == Some(&ssrc.to_be_bytes()[..]))
    }

    /// Counts a packet by its node's own number (docs/wire/bipartite.md), if it has one.
    fn node(&mut self, head: &[u8]) {
        if head.len() < 28 || head[0] & 0x1F != 0x10 || head[12..16] != [0xBE, 0xDE, 0, 3] {
            return;
        }
        let node = u16::from_be_bytes([head[21], head[22]]);
        let sent = u32::from_be_bytes([head[23], head[24], head[25], head[26]]);
        let known = self.nodes.entry(node).or_insert((sent, sent, 0));
        if sent.wrapping_sub(known.1).cast_signed() > 0 {
            known.1 = sent;
        }
        known.2 += 1;
    }

    /// Packets that nodes sent in the window and that did not come.
    fn lost(&self) -> u64 {
        let missing = |(first, last, came): &(u32, u32, u64)| {
            (u64::from(last.wrapping_sub(*first)) + 1).saturating_sub(*came)
        };
        self.nodes.values().map(missing).sum()
    }

    /// Takes the answer to PLAY: where each track's numbers begin (RFC 2326 12.33), and when.
    pub fn playing(&mut self, message: &Message<'_>, controls: &[(String, bool)], now: u64) {
        let due_us = message
            .header("Bipartite")
            .and_then(|told| due_us(told, now));
        for part in message.header("RTP-Info").unwrap_or("").split(",url=") {
            let url = part.trim_start_matches("url=").split(';').next();
            let track = controls.iter().position(|(control, _)| {
                url.is_some_and(|url| !url.is_empty() && control.ends_with(url.trim_matches('"')))
            });
            let sequence = part
                .split(';')
                .find_map(|word| word.trim().strip_prefix("seq=")?.parse().ok());
            let stamp = part
                .split(';')
                .find_map(|word| word.trim().strip_prefix("rtptime=")?.parse().ok());
            let due = track.and_then(|track| self.tracks.get_mut(track));
            if let (Some(due), Some(sequence)) = (due, sequence) {
                due.begin(sequence);
                if let (Some(due_us), Some(stamp)) = (due_us, stamp) {
                    due.due(stamp, due_us);
                }
            }
        }
    }
}

/// When what PLAY asked for is due by our clock, µs, by the header of several nodes.
fn due_us(told: &str, now: u64) -> Option<u64> {
    let after = |name: &str| told.split(name).nth(1);
    let number = |text: &str| {
        let digits = text.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse::<i64>().ok())
    };
    let clock = number(after("clock=")?)?;
    let at = number(after("line=\"")?.split('@').nth(1)?)?;
    u64::try_from(now as i64 + at - clock).ok()
}

/// The addresses of an option, separated by commas.
pub fn urls(text: &str) -> Result<Vec<Url>, String> {
    text.split(',').map(Url::parse).collect()
}

/// Bytes of a packet that are looked at.
pub fn head(titles: Option<&Titles>) -> usize {
    if titles.is_some_and(Titles::whole) {
        sys::WHOLE
    } else {
        sys::HEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(words: &str) -> Titles {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        Titles::new(&Args::parse(&words).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn readers_are_spread_over_titles() {
        let titles = titles("--due --length 60");
        let begins: Vec<f64> = (0..6).map(|index| titles.begin_s(index, 6, 2)).collect();
        assert_eq!(begins, [0.0, 0.0, 20.0, 20.0, 40.0, 40.0]);
    }

    #[test]
    fn numbers_begin_where_the_answer_says() {
        let text = b"RTSP/1.0 200 OK\r\nRTP-Info: url=rtsp://h/x/track=1;seq=7;rtptime=1,\
            url=rtsp://h/x/track=2;seq=9\r\n\r\n";
        let message = Message::parse(text).unwrap();
        let mut counts = Counts::new("m=video\r\na=rtpmap:96 H264/90000\r\nm=audio\r\n");
        counts.set_up(&message, 0);
        assert!(!counts.granted);
        let controls = ["rtsp://h/x/track=1", "rtsp://h/x/track=2"];
        counts.playing(&message, &controls.map(|one| (one.to_owned(), false)), 0);
        for (track, sequence) in [(0, 7u16), (1, 9)] {
            let mut packet = vec![0x80, 96];
            packet.extend(sequence.to_be_bytes());
            packet.extend([0; 8]);
            counts.tracks[track].note(&packet);
            assert_eq!(counts.tracks[track].seen.len(), 1);
        }
    }

    #[test]
    fn packets_of_others_are_told_apart() {
        let text = b"RTSP/1.0 200 OK\r\nTransport: RTP/AVP;unicast;ssrc=0000002A;mode=PLAY\r\n\r\n";
        let mut counts = Counts::new("m=video\r\nm=audio\r\n");
        counts.set_up(&Message::parse(text).unwrap(), 0);
        let packet = [0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 42];
        assert!(counts.knows(0, &packet) && counts.knows(1, &packet));
        let other = [0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 43];
        assert!(!counts.knows(0, &other) && counts.knows(1, &other));
    }

    #[test]
    fn packets_of_nodes_are_missed_by_their_own_numbers_and_late_by_the_clock() {
        let titles = titles("--due --ahead 4");
        assert!(titles.headers().contains("Bipartite: ahead=4000000"));
        let text = b"RTSP/1.0 200 OK\r\nRTP-Info: url=rtsp://h/1;seq=7;rtptime=90000\r\nBipartite: \
            clock=5000000, nodes=\"0=10.0.0.1:1/2-3\", ahead=4, line=\"77@5200000*1.000000\"\r\n\r\n";
        let message = Message::parse(text).unwrap();
        let mut counts = Counts::new("m=video\r\na=rtpmap:96 H264/90000\r\n");
        counts.playing(&message, &[("rtsp://h/1".to_owned(), false)], 1_000_000);
        let mut titles = titles;
        for (node, sent, stamp, at) in [
            (0u16, u32::MAX, 90_000u32, 1_200_000),
            (1, 5, 270_000, 1_300_000), // due two seconds after the start: early
            (0, 1, 180_000, 2_230_000), // number 0 of that node is lost; 30 ms late
            (1, 6, 280_000, 1_300_000),
        ] {
            let mut packet = vec![0x90, 96, 0, 7];
            packet.extend(stamp.to_be_bytes());
            packet.extend([0, 0, 0, 0, 0xBE, 0xDE, 0, 3, 0x19, 0, 0, 0, 0]);
            packet.extend(node.to_be_bytes());
            packet.extend(sent.to_be_bytes());
            packet.push(0);
            titles.packet(&mut counts, 0, &packet, at, true);
        }
        assert_eq!((counts.lost(), counts.late), (1, 1));
    }
}
