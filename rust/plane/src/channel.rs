//! A channel: sources compete to feed it, one ring remembers it, readers of every kind follow it.
//!
//! Pure: packets and time come in as arguments, events and reports are collected for the caller.
//! Everything every reader sees is made here, once: numbers, timestamps, sender reports.

use crate::event::{Event, Id};
use crate::frames::{ClockMap, FrameLog, newest_keyframe};
use crate::ring::{Item, KEY, MARKER, RTCP, Ring};
use crate::rtcp::{self, Block, Report};
use crate::rtp;
use crate::source::{
    Held, InputStats, Kind, MAX_HELD_ERROR, Source, State, Taken, TrackIn, TrackSpec,
};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// A keyframe younger than this is good to begin with, µs.
const FRESH: u64 = 1_000_000;

/// Between two sender reports of a track and two receiver reports to a source, µs (RFC 3550 §6.2).
const REPORT_INTERVAL: u64 = 5_000_000;

/// A changed clock is told at once, but not more often than this, µs.
const CLOCK_CHANGE_INTERVAL: u64 = 200_000;

/// From the last packet of an epoch to the first of the next, at least, µs: files count time no
/// finer.
const MIN_STEP: u64 = 1_000;

/// How a channel behaves; units are in the names.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How far the ring reaches back.
    pub depth_us: u64,
    /// Most bytes the ring may hold.
    pub max_bytes: usize,
    /// A source that says nothing for so long is silent.
    pub silence_us: u64,
    /// A better source takes over again once it has been well for so long.
    pub return_us: Option<u64>,
    /// How long a packet may wait for the rest of its frame.
    pub coalesce_us: u64,
    /// Least time between two writes to one TCP reader.
    pub tcp_interval_us: u64,
    /// A TCP reader further behind loses video.
    pub lag_us: u64,
}

/// A picture that is shown before one sent earlier is at most so much earlier, µs: sixteen pictures,
/// the most any codec reorders, at 12 a second. A longer step back is a clock that was set.
const MAX_REORDERING: u64 = 1_300_000;

/// Steps back, each within [`MAX_REORDERING`] of the one before, after which a track is said to be
/// reordered: a sender's clock may be set now and then, B-frames come all the time.
const REORDERED: u32 = 2;

/// A track as readers see it.
#[derive(Debug)]
pub struct TrackOut {
    /// Its format.
    pub spec: TrackSpec,
    /// The identifier all readers see, for the channel's life.
    pub ssrc: u32,
    /// Number of the next packet.
    pub next: u64,
    /// What its timestamps mean, once a packet came.
    pub clock: Option<ClockMap>,
    last_timestamp: Option<u32>,
    /// Timestamp of the packet with the highest number.
    newest: Option<u32>,
    stepped: Option<u32>,
    steps_back: u32,
    report_due: u64,
    packets: u64,
    octets: u64,
}

impl TrackOut {
    fn new(spec: &TrackSpec) -> Self {
        let random = RandomState::new().hash_one(spec.id);
        Self {
            spec: spec.clone(),
            ssrc: random as u32,
            next: 1 + (random >> 32 & 0x7fff),
            clock: None,
            last_timestamp: None,
            newest: None,
            stepped: None,
            steps_back: 0,
            report_due: 0,
            packets: 0,
            octets: 0,
        }
    }

    /// An epoch begins: the timestamp its first packet gets. One mapping of timestamps to the wall
    /// clock goes on over epochs, so that players wait out a pause instead of losing their place.
    fn begin(&mut self, timestamp: u32, wall_us: u64, now: u64) -> u32 {
        let begun = match (self.clock, self.last_timestamp) {
            (Some(clock), Some(last)) => {
                let next = clock.timestamp(wall_us);
                if later(next, last) {
                    next
                } else {
                    last.wrapping_add(1)
                }
            }
            _ => timestamp,
        };
        self.clock = Some(ClockMap {
            rtp: begun,
            wall_us,
            rate: self.spec.clock_rate,
        });
        self.report_due = now;
        (self.newest, self.stepped, self.steps_back) = (None, None, 0);
        begun
    }

    /// The packet with the highest number has this timestamp. Numbers count in the order of
    /// decoding and timestamps in that of showing (RFC 3550 §5.1, RFC 6184 §5.1), so that a step back
    /// from one packet to the next shows reordered pictures (B-frames), whatever the codec and
    /// whatever its parameter sets say or leave out.
    fn newest(&mut self, timestamp: u32) {
        if let Some(before) = self.newest.replace(timestamp)
            && later(before, timestamp)
        {
            let most = MAX_REORDERING * u64::from(self.spec.clock_rate) / 1_000_000;
            let within = |from: u32, to: u32| u64::from(to.wrapping_sub(from)) <= most;
            if self.steps_back >= REORDERED || !within(timestamp, before) {
                return;
            }
            let again = self.stepped.is_some_and(|last| within(last, before));
            self.steps_back = if again { self.steps_back + 1 } else { 1 };
            self.stepped = Some(before);
        }
    }

    /// The instant `wall`, or one just after the last packet's where a new source's clock, which
    /// is only known within the delay of its first report, would have time run back a little.
    fn not_before(&self, wall: u64) -> u64 {
        let (Some(clock), Some(last)) = (self.clock, self.last_timestamp) else {
            return wall;
        };
        let soonest = clock.wall(last) + MIN_STEP;
        if soonest > wall && soonest - wall <= MAX_HELD_ERROR {
            soonest
        } else {
            wall
        }
    }

    fn reached(&mut self, timestamp: u32) {
        if self
            .last_timestamp
            .is_none_or(|last| later(timestamp, last))
        {
            self.last_timestamp = Some(timestamp);
        }
    }

    /// The sender report of this instant; `None` before the first packet.
    pub fn report(&self, now: u64) -> Option<Vec<u8>> {
        let clock = self.clock?;
        Some(rtcp::sender_report(
            self.ssrc,
            rtcp::to_ntp(now),
            clock.timestamp(now),
            self.packets as u32,
            self.octets as u32,
            CNAME,
        ))
    }
}

/// Whether timestamp `a` comes after `b`, over the wrap.
fn later(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}

/// The canonical name in our reports; tracks of one channel share it, which is all it is for.
const CNAME: &str = "heliograph";

/// A reader in Python: a cursor, and whether it wants to be told of the next item.
#[derive(Debug)]
pub struct Tap {
    /// Its id.
    pub id: Id,
    /// Frames instead of packets.
    pub frames: bool,
    /// Tracks wanted.
    pub tracks: Vec<u8>,
    /// Items that may wait.
    pub capacity: u64,
    /// Next position.
    pub cursor: u64,
    /// Whether it runs.
    pub playing: bool,
    armed: bool,
    lost: u64,
}

/// Why a packet was not relayed; each has its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// Not RTP, or RTCP with lying lengths.
    Malformed,
    /// A payload type the track does not have.
    PayloadType,
    /// The source or track is gone.
    Unknown,
}

/// A channel. See the module.
#[derive(Debug)]
pub struct Channel {
    /// Its id.
    pub id: Id,
    /// Its behaviour.
    pub config: Config,
    /// Packets.
    pub ring: Ring,
    /// Tracks as readers see them.
    pub layout: Vec<TrackOut>,
    /// Everybody who may feed it.
    pub sources: Vec<Source>,
    /// Access units, while somebody wants them.
    pub frames: Option<FrameLog>,
    /// Position after the last packet that ended a picture.
    pub complete: u64,
    /// Events to be passed on.
    pub events: Vec<Event>,
    /// Receiver reports to be sent: source, track, packet.
    pub reports: Vec<(Id, u8, Vec<u8>)>,
    /// The current epoch; 0 before the first source.
    pub epoch: u32,
    /// Packets relayed.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets refused, whatever the reason.
    pub rejected: u64,
    active: Option<Id>,
    frame_users: usize,
    taps: Vec<Tap>,
    rate: Rate,
    reports_due: u64,
}

/// Bits a second over the last whole second.
#[derive(Debug, Default)]
struct Rate {
    since: u64,
    bytes: u64,
    bps: u64,
}

impl Rate {
    fn add(&mut self, bytes: usize, now: u64) {
        self.roll(now);
        self.bytes += bytes as u64;
    }

    fn roll(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.since);
        if elapsed >= 1_000_000 {
            self.bps = if elapsed < 3_000_000 {
                self.bytes * 8_000_000 / elapsed
            } else {
                0
            };
            (self.since, self.bytes) = (now, 0);
        }
    }
}

impl Channel {
    /// A channel without sources.
    pub fn new(id: Id, config: Config) -> Self {
        Self {
            id,
            config,
            ring: Ring::new(config.depth_us, config.max_bytes),
            layout: Vec::new(),
            sources: Vec::new(),
            frames: None,
            complete: 0,
            events: Vec::new(),
            reports: Vec::new(),
            epoch: 0,
            packets: 0,
            bytes: 0,
            rejected: 0,
            active: None,
            frame_users: 0,
            taps: Vec::new(),
            rate: Rate::default(),
            reports_due: 0,
        }
    }

    /// The source being relayed.
    pub fn active(&self) -> Option<Id> {
        self.active
    }

    /// Bits a second coming in, over the last whole second.
    pub fn bitrate(&mut self, now: u64) -> u64 {
        self.rate.roll(now);
        self.rate.bps
    }

    /// The source with this id.
    pub fn source(&mut self, id: Id) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| source.id == id)
    }

    fn index(&self, id: Id) -> Option<usize> {
        self.sources.iter().position(|source| source.id == id)
    }

    /// Announces a source.
    pub fn add_source(&mut self, id: Id, priority: i64, tracks: Vec<TrackSpec>) {
        self.sources.push(Source::new(id, priority, tracks));
    }

    /// Takes a source away; the next best takes over.
    pub fn remove_source(&mut self, id: Id, now: u64) {
        let before = self.sources.len();
        self.sources.retain(|source| source.id != id);
        if before != self.sources.len() && self.active == Some(id) {
            self.active = None;
            self.choose(now);
        }
    }

    /// Adds a way by which a source's packets come.
    pub fn add_input(&mut self, source: Id, input: Id) {
        if let Some(source) = self.source(source) {
            source.inputs.push(InputStats {
                id: input,
                ..InputStats::default()
            });
        }
    }

    /// Takes it away.
    pub fn remove_input(&mut self, source: Id, input: Id) {
        if let Some(source) = self.source(source) {
            source.inputs.retain(|known| known.id != input);
        }
    }

    /// One RTP packet of a source's track.
    pub fn rtp(
        &mut self,
        source: Id,
        input: Id,
        track: u8,
        data: &[u8],
        now: u64,
    ) -> Result<(), Reject> {
        let result = self.take(source, input, track, data, now);
        if result.is_err() {
            self.rejected += 1;
        }
        result
    }

    fn take(
        &mut self,
        source: Id,
        input: Id,
        track: u8,
        data: &[u8],
        now: u64,
    ) -> Result<(), Reject> {
        let header = rtp::parse(data).map_err(|_| Reject::Malformed)?;
        let at = self.index(source).ok_or(Reject::Unknown)?;
        let source = &mut self.sources[at];
        let index = source.track_index(track).ok_or(Reject::Unknown)?;
        if header.payload_type != source.tracks[index].spec.payload_type {
            source.rejected += 1;
            return Err(Reject::PayloadType);
        }
        if let Some(input) = source.inputs.iter_mut().find(|known| known.id == input) {
            input.packets += 1;
            input.bytes += data.len() as u64;
        }
        match source.take(index, &header, data, now) {
            Taken::Relay { number, key } => self.relay(at, index, number, key, data, now),
            Taken::Dropped => {}
            Taken::Kept => self.consider(at, now),
            Taken::Restarted => {
                if self.active == Some(self.sources[at].id) {
                    self.active = None;
                }
                self.consider(at, now);
            }
        }
        self.wake_taps();
        Ok(())
    }

    /// A source that is not relayed has delivered: is it its turn?
    fn consider(&mut self, at: usize, now: u64) {
        let source = &self.sources[at];
        if !source.ready(now) {
            return;
        }
        let turn = match self.active.and_then(|id| self.index(id)) {
            None => true,
            Some(active) => {
                self.sources[active].priority > source.priority
                    && self.config.return_us.is_some_and(|well| {
                        now.saturating_sub(source.well_since) >= well && source.at_key(now)
                    })
            }
        };
        if turn {
            self.activate(at);
        }
    }

    /// Lets the best source that is ready feed the channel, or says that there is none.
    fn choose(&mut self, now: u64) {
        let best = (0..self.sources.len())
            .filter(|at| self.sources[*at].ready(now))
            .min_by_key(|at| (self.sources[*at].priority, self.sources[*at].id));
        match best {
            Some(at) => self.activate(at),
            None => self.events.push(Event::ChannelSilent { channel: self.id }),
        }
    }

    fn activate(&mut self, at: usize) {
        if let Some(before) = self.active.and_then(|id| self.index(id)) {
            self.sources[before].stand_by();
        }
        self.epoch += 1;
        let source = &mut self.sources[at];
        self.active = Some(source.id);
        let pending = source.activate();
        let source_id = source.id;
        let layout_changed = self.adopt_layout(at);
        self.events.push(Event::SourceActive {
            channel: self.id,
            source: source_id,
            epoch: self.epoch,
            layout_changed,
        });
        for packet in pending {
            self.relay(
                at,
                packet.track,
                packet.number,
                packet.key,
                &packet.data,
                packet.arrival,
            );
        }
        self.wake_taps();
    }

    /// Makes the readers' tracks those of the source; `true` when readers must learn them anew.
    fn adopt_layout(&mut self, at: usize) -> bool {
        let tracks: Vec<TrackSpec> = self.sources[at]
            .tracks
            .iter()
            .map(|track| track.spec.clone())
            .collect();
        let same = self.layout.len() == tracks.len()
            && self
                .layout
                .iter()
                .zip(&tracks)
                .all(|(out, spec)| out.spec.same_format(spec));
        let first = self.layout.is_empty();
        let fresh = std::mem::take(&mut self.layout);
        let mut known: Vec<TrackOut> = fresh;
        for spec in &tracks {
            let old = known.iter().position(|out| out.spec.same_format(spec));
            let mut out = old.map_or_else(|| TrackOut::new(spec), |at| known.swap_remove(at));
            out.spec.parameter_sets.clone_from(&spec.parameter_sets);
            self.layout.push(out);
        }
        if !same {
            self.ring.forget_key();
        }
        if self.frames.is_some() {
            // Parameter sets may differ even where the format does not: the log starts anew.
            if same {
                if let Some(frames) = &mut self.frames {
                    frames.set_parameter_sets(&tracks);
                }
            } else {
                self.rebuild_frames();
            }
        }
        !same && !first
    }

    fn relay(&mut self, at: usize, index: usize, number: u64, key: bool, data: &[u8], now: u64) {
        let source = &mut self.sources[at];
        let Ok(header) = rtp::parse(data) else { return };
        let id = source.tracks[index].spec.id;
        let Some(out) = self.layout.iter_mut().find(|out| out.spec.id == id) else {
            return;
        };
        if source.tracks[index].gated {
            if !key {
                return;
            }
            source.tracks[index].gated = false;
        }
        let (from, to) = if let Some(base) = source.tracks[index].base {
            base
        } else {
            let wall = source.wall(index, header.timestamp).unwrap_or(now);
            let wall = out.not_before(wall);
            source.hold(index, header.timestamp, wall);
            let timestamp = out.begin(header.timestamp, wall, now);
            let track = &mut source.tracks[index];
            track.timestamp_shift = timestamp.wrapping_sub(header.timestamp);
            *track.base.insert((number, out.next))
        };
        let Some(offset) = number.checked_sub(from) else {
            source.rejected += 1;
            return; // overtook the packet its epoch began with
        };
        let number = to + offset;
        let newest = number >= out.next;
        out.next = out.next.max(number + 1);
        let timestamp = header
            .timestamp
            .wrapping_add(source.tracks[index].timestamp_shift);
        out.reached(timestamp);
        if newest {
            out.newest(timestamp);
        }
        let mut copy: Box<[u8]> = data.into();
        rtp::rewrite(
            &mut copy,
            out.spec.payload_type,
            number as u16,
            timestamp,
            out.ssrc,
        );
        let video = out.spec.kind == Kind::Video;
        if now >= out.report_due
            && let Some(report) = out.report(now)
        {
            out.report_due = now + REPORT_INTERVAL;
            self.ring.push(Item {
                track: id,
                flags: RTCP,
                video,
                epoch: self.epoch,
                number: 0,
                time: 0,
                arrival: now,
                data: report.into(),
            });
        }
        out.packets += 1;
        out.octets += (header.end - header.start) as u64;
        self.packets += 1;
        self.bytes += data.len() as u64;
        self.rate.add(data.len(), now);
        let flags = if key { KEY } else { 0 } | if header.marker { MARKER } else { 0 };
        self.ring.push(Item {
            track: id,
            flags,
            video,
            epoch: self.epoch,
            number,
            time: u64::from(timestamp),
            arrival: now,
            data: copy,
        });
        if video && header.marker {
            self.complete = self.ring.head();
        }
        if let (Some(frames), Some(clock)) = (&mut self.frames, out.clock)
            && let Some(item) = self.ring.get(self.ring.head() - 1)
        {
            frames.take(item, &clock);
        }
    }

    /// One RTCP packet that came with a source's track.
    pub fn rtcp(&mut self, source: Id, track: u8, data: &[u8], now: u64) -> Result<(), Reject> {
        let Some(reports) = rtcp::parse(data) else {
            self.rejected += 1;
            return Err(Reject::Malformed);
        };
        let at = self.index(source).ok_or(Reject::Unknown)?;
        let index = self.sources[at].track_index(track).ok_or(Reject::Unknown)?;
        for report in reports {
            let Report::Sender { ntp, rtp, .. } = report else {
                continue;
            };
            let held = self.held(at);
            let source = &mut self.sources[at];
            let unrelated = source.clock_offset.is_none();
            if !source.clock_report(index, ntp, rtp, held, now) {
                source.rejected += 1;
            } else if unrelated {
                // Reports of other tracks may have waited for this one.
                for index in 0..self.sources[at].tracks.len() {
                    self.set_clock(at, index, now);
                }
            } else {
                self.set_clock(at, index, now);
            }
        }
        Ok(())
    }

    /// Whose instants readers keep while the relayed source's clock becomes known: the picture's,
    /// or else the first track's.
    fn held(&self, at: usize) -> Option<Held> {
        let source = &self.sources[at];
        if self.active != Some(source.id) {
            return None;
        }
        let relayed = |(index, track): (usize, &TrackIn)| {
            track.base?;
            let out = self
                .layout
                .iter()
                .find(|out| out.spec.id == track.spec.id)?;
            let held = Held {
                track: index,
                clock: out.clock?,
                shift: track.timestamp_shift,
            };
            Some((out.spec.kind != Kind::Video, held))
        };
        let found = source.tracks.iter().enumerate().filter_map(relayed);
        found.min_by_key(|(sound, _)| *sound).map(|(_, held)| held)
    }

    /// Readers' clock of a track becomes what its source's latest report says.
    fn set_clock(&mut self, at: usize, index: usize, now: u64) {
        let source = &self.sources[at];
        let track = &source.tracks[index];
        let (Some(_), Some(pair)) = (track.base, track.clock) else {
            return;
        };
        let Some(wall) = source.wall(index, pair.rtp) else {
            return;
        };
        if self.active != Some(source.id) {
            return;
        }
        let shifted = pair.rtp.wrapping_add(track.timestamp_shift);
        let id = track.spec.id;
        let Some(out) = self.layout.iter_mut().find(|out| out.spec.id == id) else {
            return;
        };
        let clock = ClockMap {
            rtp: shifted,
            wall_us: wall,
            rate: out.spec.clock_rate,
        };
        let moved = out
            .clock
            .is_none_or(|old| old.wall(shifted).abs_diff(wall) > 1_000);
        out.clock = Some(clock);
        if moved {
            let soonest = out.report_due.saturating_sub(REPORT_INTERVAL) + CLOCK_CHANGE_INTERVAL;
            out.report_due = soonest.max(now).min(out.report_due);
        }
    }

    /// Notices silence and prepares receiver reports; to be called some forty times a second.
    pub fn tick(&mut self, now: u64) {
        for at in 0..self.sources.len() {
            let source = &mut self.sources[at];
            let silent = source.state != State::Silent
                && now.saturating_sub(source.last_packet) >= self.config.silence_us;
            if silent {
                source.fall_silent();
                let source = source.id;
                self.events.push(Event::SourceSilent {
                    channel: self.id,
                    source,
                });
                if self.active == Some(source) {
                    self.active = None;
                    self.choose(now);
                }
            }
        }
        if self.active.is_none() && self.sources.iter().any(|source| source.ready(now)) {
            self.choose(now);
        }
        if now >= self.reports_due {
            self.reports_due = now + REPORT_INTERVAL;
            for source in &mut self.sources {
                for track in &mut source.tracks {
                    let Some(ssrc) = track.numbering.ssrc() else {
                        continue;
                    };
                    let since = track
                        .clock
                        .map_or(0, |clock| now.saturating_sub(clock.arrival));
                    let block = Block {
                        ssrc,
                        fraction_lost: track.numbering.fraction_lost(),
                        lost: track.numbering.lost() as u32,
                        highest: track.numbering.highest() as u32,
                        jitter: track.numbering.jitter(),
                        last_report: track.clock.map_or(0, |clock| clock.compact),
                        delay: (since * 65_536 / 1_000_000) as u32,
                    };
                    let report = rtcp::receiver_report(ssrc ^ 1, &block, CNAME);
                    self.reports.push((source.id, track.spec.id, report));
                }
            }
        }
        self.rate.roll(now);
    }

    /// Whether pictures come in another order than they are shown in.
    pub fn reorders(&self) -> bool {
        let mut video = self
            .layout
            .iter()
            .filter(|out| out.spec.kind == Kind::Video);
        video.any(|out| out.steps_back >= REORDERED)
    }

    /// The video tracks whose newest keyframe is old: who begins there begins far behind.
    pub fn stale_video(&self, now: u64) -> Vec<u8> {
        let newest = self.ring.get(self.ring.entry());
        if newest.is_some_and(|item| now.saturating_sub(item.arrival) < FRESH) {
            return Vec::new();
        }
        let video = self
            .layout
            .iter()
            .filter(|out| out.spec.kind == Kind::Video);
        video.map(|out| out.spec.id).collect()
    }

    /// Where a reader begins, and the next sequence number and timestamp of each track there.
    pub fn entry(&self, now: u64) -> (u64, Vec<(u8, u16, u32)>) {
        let position = self.ring.entry();
        let next = |out: &TrackOut| {
            let held = self
                .ring
                .from(position)
                .find(|item| item.track == out.spec.id && item.flags & RTCP == 0);
            match (held, out.clock) {
                (Some(item), _) => (out.spec.id, item.number as u16, item.time as u32),
                (None, Some(clock)) => (out.spec.id, out.next as u16, clock.timestamp(now)),
                (None, None) => (out.spec.id, out.next as u16, 0),
            }
        };
        (position, self.layout.iter().map(next).collect())
    }

    /// Somebody wants frames: makes the log out of what the ring holds.
    pub fn use_frames(&mut self) {
        self.frame_users += 1;
        if self.frames.is_none() {
            self.rebuild_frames();
        }
    }

    /// Somebody wants them no more.
    pub fn release_frames(&mut self) {
        self.frame_users = self.frame_users.saturating_sub(1);
        if self.frame_users == 0 {
            self.frames = None;
        }
    }

    fn rebuild_frames(&mut self) {
        let specs: Vec<TrackSpec> = self.layout.iter().map(|out| out.spec.clone()).collect();
        let mut log = FrameLog::new(&specs, self.config.depth_us, self.config.max_bytes);
        if let Some(old) = &self.frames {
            log.ring.continue_from(old.ring.head());
        }
        for item in self.ring.from(self.ring.entry()) {
            let clock = self.layout.iter().find(|out| out.spec.id == item.track);
            if let Some(clock) = clock.and_then(|out| out.clock) {
                log.take(item, &clock);
            }
        }
        self.frames = Some(log);
    }

    /// The newest whole key access unit of a track.
    pub fn keyframe(&self, track: u8) -> Option<Vec<u8>> {
        let spec = &self.layout.iter().find(|out| out.spec.id == track)?.spec;
        let from = self.ring.key()?;
        let packets: Vec<Arc<Item>> = self.ring.from(from).cloned().collect();
        newest_keyframe(spec, &packets)
    }

    /// Adds a reader in Python.
    pub fn add_tap(&mut self, id: Id, tracks: Vec<u8>, frames: bool, capacity: u64) {
        if frames {
            self.use_frames();
        }
        let cursor = self.log(frames).map_or(0, Ring::entry);
        let tap = Tap {
            id,
            frames,
            tracks,
            capacity,
            cursor,
            playing: false,
            armed: true,
            lost: 0,
        };
        self.taps.push(tap);
    }

    /// Takes it away; `true` if it was there.
    pub fn remove_tap(&mut self, id: Id) -> bool {
        let Some(at) = self.taps.iter().position(|tap| tap.id == id) else {
            return false;
        };
        if self.taps.swap_remove(at).frames {
            self.release_frames();
        }
        true
    }

    /// The tap with this id.
    pub fn tap(&mut self, id: Id) -> Option<&mut Tap> {
        self.taps.iter_mut().find(|tap| tap.id == id)
    }

    /// The packets or the frames.
    pub fn log(&self, frames: bool) -> Option<&Ring> {
        if frames {
            self.frames.as_ref().map(|log| &log.ring)
        } else {
            Some(&self.ring)
        }
    }

    /// Up to `limit` items a tap has not seen, and how many it lost since the last call.
    pub fn read_tap(&mut self, id: Id, limit: usize) -> Option<(Vec<Arc<Item>>, u64)> {
        let at = self.taps.iter().position(|tap| tap.id == id)?;
        let tap = &self.taps[at];
        let Some(ring) = self.log(tap.frames) else {
            return Some((Vec::new(), 0));
        };
        let oldest = ring.tail().max(ring.head().saturating_sub(tap.capacity));
        let lost = oldest.saturating_sub(tap.cursor);
        let mut cursor = tap.cursor.max(oldest);
        let mut items = Vec::new();
        if tap.playing {
            for item in ring.from(cursor) {
                if items.len() >= limit {
                    break;
                }
                cursor += 1;
                if tap.tracks.is_empty() || tap.tracks.contains(&item.track) {
                    items.push(Arc::clone(item));
                }
            }
        }
        let level = cursor >= ring.head();
        let tap = &mut self.taps[at];
        tap.cursor = cursor;
        tap.armed = level;
        tap.lost += lost;
        Some((items, lost))
    }

    /// Tells taps that were empty that they are not any more.
    pub fn wake_taps(&mut self) {
        if self.taps.is_empty() {
            return;
        }
        let heads = [
            self.ring.head(),
            self.frames.as_ref().map_or(0, |log| log.ring.head()),
        ];
        for tap in &mut self.taps {
            if tap.armed && tap.playing && tap.cursor < heads[usize::from(tap.frames)] {
                tap.armed = false;
                self.events.push(Event::TapReady { reader: tap.id });
            }
        }
    }

    /// Ids of the taps.
    pub fn tap_ids(&self) -> impl Iterator<Item = Id> {
        self.taps.iter().map(|tap| tap.id)
    }
}
