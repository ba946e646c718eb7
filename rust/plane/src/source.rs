//! One source of a channel: its tracks' numbering, its clock, and, while it stands by, its packets
//! since the last keyframe, so that it can take over at once.

use crate::codec::starts_keyframe;
use crate::event::Id;
use crate::frames::ClockMap;
use crate::media::TrackSpec;
use crate::numbered::{NumberedSource, Seen};
use crate::numbering::{Arrival, Numbering};
use crate::rtp::Header;
use std::collections::VecDeque;

/// A standby's packets are kept up to this many bytes: 10 s at 3 Mbit/s, or one large keyframe.
const STANDBY_BYTES: usize = 4 << 20;

/// A source whose video never shows a keyframe is relayed without one after so long, µs.
const KEYFRAME_PATIENCE: u64 = 3_000_000;

/// A source that was silent for no longer goes on where it ended, µs: what was lost meanwhile is to
/// its viewers as any loss, and less than to wait for a keyframe.
const HICCUP: u64 = 500_000;

/// Clocks of one source's tracks further apart than this are unrelated, µs.
const MAX_CLOCK_SPREAD: i64 = 10_000_000;

/// Instants readers were told that are further than this from what a source's reports say are given
/// up, µs: relaying began within a burst of old packets. A smaller error nobody notices.
pub const MAX_HELD_ERROR: u64 = 200_000;

/// The track of a source whose timestamps keep the instants readers were told.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Index into the source's tracks.
    pub track: usize,
    /// What readers were told.
    pub clock: ClockMap,
    /// Added to the source's timestamps to get the readers'.
    pub shift: u32,
}

impl Held {
    fn wall(&self, timestamp: u32) -> u64 {
        self.clock.wall(timestamp.wrapping_add(self.shift))
    }
}

/// A packet that is numbered and waits for its source to be relayed.
#[derive(Debug)]
pub struct Pending {
    /// Index into the source's tracks.
    pub track: usize,
    /// Extended sequence number.
    pub number: u64,
    /// Whether it begins a random access point.
    pub key: bool,
    /// When it came.
    pub arrival: u64,
    /// The packet as it came.
    pub data: Box<[u8]>,
}

/// The pair of clocks a sender report gave, in the source's own terms.
#[derive(Clone, Copy, Debug)]
pub struct ClockPair {
    /// The source's wall clock, µs since 1970 as it believes.
    pub ntp_us: i64,
    /// The RTP timestamp of that instant.
    pub rtp: u32,
    /// The middle bits of the NTP time, to be named in receiver reports.
    pub compact: u32,
    /// When the report came.
    pub arrival: u64,
}

/// A track on its way in.
#[derive(Debug)]
pub struct TrackIn {
    /// As announced.
    pub spec: TrackSpec,
    /// Numbers and losses.
    pub numbering: Numbering,
    /// The latest sender report.
    pub clock: Option<ClockPair>,
    /// First number relayed in this epoch and the channel number it got.
    pub base: Option<(u64, u64)>,
    /// Added to the source's timestamps in this epoch.
    pub timestamp_shift: u32,
    /// Timestamp of the access unit whose beginning was marked as key last.
    key_timestamp: Option<u32>,
    /// Video that has not shown a keyframe in this epoch is held back.
    pub gated: bool,
    /// Which numbers came, where another unit numbers.
    pub seen: Option<Seen>,
}

/// Counters of one way in.
#[derive(Clone, Copy, Debug, Default)]
pub struct InputStats {
    /// Which input.
    pub id: Id,
    /// Packets that came, copies included.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Where a source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Announced; nothing came yet, or it fell silent.
    Silent,
    /// Delivers, and is not relayed.
    Standby,
    /// Is relayed.
    Active,
}

/// A source. Lower `priority` is better.
#[derive(Debug)]
pub struct Source {
    /// Its id.
    pub id: Id,
    /// Rank among the channel's sources.
    pub priority: i64,
    /// Its tracks.
    pub tracks: Vec<TrackIn>,
    /// Ways by which its packets come.
    pub inputs: Vec<InputStats>,
    /// Where it stands.
    pub state: State,
    /// When the newest packet came.
    pub last_packet: u64,
    /// Since when it has delivered without falling silent.
    pub well_since: u64,
    /// Added to the source's wall clock to get ours, once known.
    pub clock_offset: Option<i64>,
    /// Payload bytes and packets refused: unknown payload type, malformed, late.
    pub rejected: u64,
    /// Another unit numbers its packets.
    pub numbered: Option<NumberedSource>,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    has_key: bool,
    /// It fell silent while it was relayed, and nobody has taken over.
    paused: bool,
}

/// What became of one packet of a source.
#[derive(Debug)]
pub enum Taken {
    /// To be relayed now.
    Relay {
        /// Extended sequence number.
        number: u64,
        /// Whether it begins a random access point.
        key: bool,
    },
    /// Kept for later, or not needed.
    Kept,
    /// A copy or not of this stream.
    Dropped,
    /// A new stream began: the source must be activated anew.
    Restarted,
}

impl Source {
    /// A source that has said nothing yet.
    pub fn new(id: Id, priority: i64, tracks: Vec<TrackSpec>) -> Self {
        let tracks = tracks
            .into_iter()
            .map(|spec| TrackIn {
                numbering: Numbering::new(spec.clock_rate),
                spec,
                clock: None,
                base: None,
                timestamp_shift: 0,
                key_timestamp: None,
                gated: false,
                seen: None,
            })
            .collect();
        Self {
            id,
            priority,
            tracks,
            inputs: Vec::new(),
            state: State::Silent,
            last_packet: 0,
            well_since: 0,
            clock_offset: None,
            rejected: 0,
            numbered: None,
            pending: VecDeque::new(),
            pending_bytes: 0,
            has_key: false,
            paused: false,
        }
    }

    /// The same for packets that another unit numbers.
    pub fn numbered(id: Id, priority: i64, tracks: Vec<TrackSpec>) -> Self {
        let mut source = Self::new(id, priority, tracks);
        source.numbered = Some(NumberedSource::default());
        for track in &mut source.tracks {
            track.seen = Some(Seen::default());
        }
        source
    }

    /// Index of the track with this id.
    pub fn track_index(&self, id: u8) -> Option<usize> {
        self.tracks.iter().position(|track| track.spec.id == id)
    }

    /// Whether readers must begin at a keyframe.
    pub fn keyed(&self) -> bool {
        self.tracks.iter().any(|track| track.spec.has_keyframes())
    }

    /// Whether it could be relayed from this moment on.
    pub fn ready(&self, now: u64) -> bool {
        if let Some(numbered) = &self.numbered {
            let well_for = now.saturating_sub(self.well_since);
            return self.state != State::Silent && numbered.ready(self.keyed(), well_for);
        }
        self.state != State::Silent
            && (!self.keyed()
                || self.has_key
                || now.saturating_sub(self.well_since) > KEYFRAME_PATIENCE)
    }

    /// Whether what it kept begins with a keyframe that came just now, so that taking over shows
    /// nothing twice. Sound may take over anywhere.
    pub fn at_key(&self, now: u64) -> bool {
        if let Some(numbered) = &self.numbered {
            return numbered.at_key(self.keyed(), now);
        }
        !self.keyed()
            || self
                .pending
                .front()
                .is_some_and(|first| first.key && first.arrival == now)
    }

    /// A packet came.
    pub fn heard(&mut self, now: u64) {
        if self.state == State::Silent && now.saturating_sub(self.last_packet) > HICCUP {
            self.forget();
        }
        self.last_packet = now;
        if self.state == State::Silent {
            self.state = State::Standby;
            self.well_since = now;
        }
    }

    /// Takes a parsed packet; `data` is the whole packet.
    pub fn take(&mut self, index: usize, header: &Header, data: &[u8], now: u64) -> Taken {
        self.heard(now);
        let track = &mut self.tracks[index];
        let mut restarted = false;
        let number = match track
            .numbering
            .take(header.ssrc, header.sequence, header.timestamp, now)
        {
            Arrival::Fresh(number) => number,
            Arrival::Restart => {
                restarted = true;
                track.numbering.highest()
            }
            Arrival::Duplicate | Arrival::TooLate | Arrival::Stray => return Taken::Dropped,
        };
        let mut key = false;
        if track.spec.has_keyframes()
            && track.key_timestamp != Some(header.timestamp)
            && starts_keyframe(&track.spec.codec, &data[header.start..header.end])
        {
            track.key_timestamp = Some(header.timestamp);
            key = true;
        }
        if restarted {
            self.restart(index);
        }
        if self.state == State::Active {
            return Taken::Relay { number, key };
        }
        self.keep(Pending {
            track: index,
            number,
            key,
            arrival: now,
            data: data.into(),
        });
        if restarted {
            Taken::Restarted
        } else {
            Taken::Kept
        }
    }

    /// Forgets what belonged to the stream before; the other tracks go on by their own numbers.
    fn restart(&mut self, index: usize) {
        self.forget();
        self.clock_offset = None;
        for track in &mut self.tracks {
            track.clock = None;
        }
        self.tracks[index].base = None;
        if self.state == State::Active {
            self.state = State::Standby;
        }
    }

    fn keep(&mut self, packet: Pending) {
        if packet.key {
            self.pending.clear();
            self.pending_bytes = 0;
            self.has_key = true;
        } else if self.tracks[packet.track].spec.has_keyframes() && !self.has_key {
            return; // a picture that nobody could show
        }
        self.pending_bytes += packet.data.len();
        self.pending.push_back(packet);
        if self.keyed() && self.has_key {
            if self.pending_bytes > STANDBY_BYTES {
                self.pending.clear();
                self.pending_bytes = 0;
                self.has_key = false;
            }
        } else {
            // Sound needs no beginning: a short tail is enough to go on from.
            while self.pending.len() > 8 {
                if let Some(oldest) = self.pending.pop_front() {
                    self.pending_bytes -= oldest.data.len();
                }
            }
        }
    }

    /// Begins an epoch: hands over what was kept, to be relayed first.
    pub fn activate(&mut self) -> VecDeque<Pending> {
        let gated = !self.has_key;
        self.state = State::Active;
        self.has_key = false;
        self.pending_bytes = 0;
        for track in &mut self.tracks {
            track.base = None;
            track.gated = gated && track.spec.has_keyframes();
        }
        std::mem::take(&mut self.pending)
    }

    /// The source says nothing any more; what it kept is still good if that does not last.
    pub fn fall_silent(&mut self) {
        self.state = State::Silent;
        if let Some(numbered) = &mut self.numbered {
            numbered.clear();
        }
    }

    /// It was relayed, and nobody could take over: it may itself.
    pub fn pause(&mut self) {
        if self.numbered.is_none() {
            // Readers have all that came before: to go on it needs no keyframe.
            (self.paused, self.has_key) = (true, true);
        }
    }

    /// What it kept since it paused, to be relayed first; `None`: it begins anew.
    pub fn resume(&mut self) -> Option<VecDeque<Pending>> {
        std::mem::take(&mut self.paused).then(|| {
            self.state = State::Active;
            self.has_key = false;
            self.pending_bytes = 0;
            std::mem::take(&mut self.pending)
        })
    }

    /// Another has taken over.
    pub fn succeeded(&mut self) {
        if self.paused {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
        (self.has_key, self.paused) = (false, false);
    }

    /// When its newest packet came, unless it is silent.
    pub fn heard_last(&self) -> Option<u64> {
        (self.state != State::Silent).then_some(self.last_packet)
    }

    /// Another source is relayed from now on.
    pub fn stand_by(&mut self) {
        self.state = State::Standby;
    }

    /// Notes a sender report. `false` when its clock has nothing to do with the other tracks'.
    ///
    /// The first report of all relates the source's clock to ours. While packets are relayed whose
    /// instants were taken from their arrival, only a report of the track whose instants readers
    /// shall keep, `held`, does: what its first timestamp stands for as readers know it is then
    /// the relation, unless it is far off. Readers make presentation times of these clocks, and
    /// players do not bear pictures that jump back.
    pub fn clock_report(
        &mut self,
        index: usize,
        ntp: u64,
        rtp: u32,
        held: Option<Held>,
        now: u64,
    ) -> bool {
        let ntp_us = crate::rtcp::from_ntp(ntp);
        let here = now as i64;
        if self.clock_offset.is_none() {
            let arrived = here - ntp_us;
            self.clock_offset = match held {
                None => Some(arrived),
                Some(held) if held.track == index => {
                    let known = held.wall(rtp) as i64 - ntp_us;
                    Some(if known.abs_diff(arrived) <= MAX_HELD_ERROR {
                        known
                    } else {
                        arrived
                    })
                }
                Some(_) => None,
            };
            if let Some(offset) = self.clock_offset {
                for track in &mut self.tracks {
                    track.clock = track.clock.take_if(|clock| {
                        let spread = clock.ntp_us + offset - clock.arrival as i64;
                        spread.abs() <= MAX_CLOCK_SPREAD
                    });
                }
            }
        }
        if self
            .clock_offset
            .is_some_and(|offset| (ntp_us + offset - here).abs() > MAX_CLOCK_SPREAD)
        {
            return false;
        }
        let compact = (ntp >> 16) as u32;
        self.tracks[index].clock = Some(ClockPair {
            ntp_us,
            rtp,
            compact,
            arrival: now,
        });
        true
    }

    /// From now on a timestamp of a track stands for `wall`, and all others for what belongs to
    /// that. Without reports there is nothing to be changed.
    pub fn hold(&mut self, index: usize, timestamp: u32, wall: u64) {
        if let (Some(known), Some(offset)) = (self.wall(index, timestamp), &mut self.clock_offset) {
            *offset += wall as i64 - known as i64;
        }
    }

    /// The instant a timestamp of a track stands for on our clock, if a report told.
    pub fn wall(&self, index: usize, timestamp: u32) -> Option<u64> {
        let track = &self.tracks[index];
        let clock = track.clock?;
        let units = i64::from(timestamp.wrapping_sub(clock.rtp) as i32);
        let us = units * 1_000_000 / i64::from(track.spec.clock_rate.max(1));
        u64::try_from(clock.ntp_us + self.clock_offset? + us).ok()
    }
}
