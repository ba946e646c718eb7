//! What readers of titles want and count besides: several titles at many places, lateness, content.

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
        let (mut with_late, mut wrong, mut missing, mut granted) = (0, 0, 0, 0);
        for (index, reader) in readers.enumerate() {
            with_late += u64::from(reader.late > 0);
            granted += u64::from(reader.granted);
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
        }
    }

    /// Takes the answer to SETUP: whether the server does what was asked for beyond the usual.
    pub fn set_up(&mut self, message: &Message<'_>) {
        self.granted |= message.header("Supported").is_some();
    }

    /// Takes the answer to PLAY: where each track's numbers begin (RFC 2326 12.33).
    pub fn playing(&mut self, message: &Message<'_>, controls: &[(String, bool)]) {
        for part in message.header("RTP-Info").unwrap_or("").split(",url=") {
            let url = part.trim_start_matches("url=").split(';').next();
            let track = controls.iter().position(|(control, _)| {
                url.is_some_and(|url| !url.is_empty() && control.ends_with(url.trim_matches('"')))
            });
            let sequence = part
                .split(';')
                .find_map(|word| word.trim().strip_prefix("seq=")?.parse().ok());
            if let (Some(track), Some(sequence)) = (track, sequence)
                && let Some(due) = self.tracks.get_mut(track)
            {
                due.begin(sequence);
            }
        }
    }
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
        counts.set_up(&message);
        assert!(!counts.granted);
        let controls = ["rtsp://h/x/track=1", "rtsp://h/x/track=2"];
        counts.playing(&message, &controls.map(|one| (one.to_owned(), false)));
        for (track, sequence) in [(0, 7u16), (1, 9)] {
            let mut packet = vec![0x80, 96];
            packet.extend(sequence.to_be_bytes());
            packet.extend([0; 8]);
            counts.tracks[track].note(&packet);
            assert_eq!(counts.tracks[track].seen.len(), 1);
        }
    }
}
