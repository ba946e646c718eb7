//! The sender itself: what it is told, what is due, how it is numbered.

use super::ahead::Lead;
use super::batch::Batch;
use super::block::{Block, KEY, MAX_US};
use super::keep::{Kept, Sent};
use super::queue::{Queue, Waiting};
use super::reports::{Heard, REPORT_INTERVAL, sender_report};
use super::timeline::{Timeline, possible};
use super::track::{Node, Track, TrackSpec};
use super::types::{Counters, Notice, Refused, Start, State};
use std::collections::VecDeque;

/// Later than this it puts its clock back instead of sending faster and faster: a viewer that took
/// nothing for minutes, or was not fed, would get them all at once.
pub const MAX_BEHIND: u64 = 1_000_000;

/// Packets that may wait to be sent again; who asks for more has lost the stream.
const MAX_RESENDS: usize = 4_096;

/// Serves one viewer.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // each is told by another event, and none excludes another
pub struct Sender {
    pub(super) tracks: Vec<Track>,
    pub(super) cname: String,
    pub(super) low_us: u64,
    max_bytes: usize,
    pub(super) node: Option<Node>,
    pub(super) queue: Queue,
    /// Up to which media time it is fed.
    pub(super) end_us: u64,
    pub(super) finished: bool,
    /// Nothing was sent of what was fed since the beginning or a flush.
    fresh: bool,
    pub(super) settled: bool,
    pub(super) state: State,
    keys_only: bool,
    pub(super) until_us: Option<u64>,
    pub(super) time: Option<Timeline>,
    /// Media time, RTP's time and the clock when it stopped.
    stopped: (u64, u64, u64),
    stalled_since: Option<u64>,
    pub(super) low_told: bool,
    pub(super) dry: bool,
    kept: Kept,
    pub(super) lead: Lead,
    pub(super) resends: VecDeque<Sent>,
    /// Not told yet.
    pub notices: Vec<Notice>,
    /// Counters.
    pub counters: Counters,
    /// What its viewer says.
    pub heard: Heard,
}

impl Sender {
    /// An idle one.
    pub fn new(
        tracks: &[TrackSpec],
        cname: &str,
        low_us: u64,
        max_bytes: usize,
        node: Option<Node>,
    ) -> Result<Self, Refused> {
        let double = |at: usize| tracks[..at].iter().any(|one| one.track == tracks[at].track);
        if tracks.is_empty() || (0..tracks.len()).any(double) {
            return Err(Refused::Value("a sender has tracks, each once"));
        }
        let possible = |one: &TrackSpec| one.clock_rate > 0 && one.payload_type < 128;
        if !tracks.iter().all(possible) {
            return Err(Refused::Value(
                "clock rate and payload type: 1 and more, 0 to 127",
            ));
        }
        if node.is_some_and(|node| !(1..=14).contains(&node.extension)) {
            return Err(Refused::Value(
                "node number and extension id: 0 to 65535, 1 to 14",
            ));
        }
        Ok(Self {
            tracks: tracks.iter().copied().map(Track::new).collect(),
            cname: cname.to_owned(),
            low_us,
            max_bytes,
            node,
            queue: Queue::default(),
            end_us: 0,
            finished: false,
            fresh: true,
            settled: false,
            state: State::Idle,
            keys_only: false,
            until_us: None,
            time: None,
            stopped: (0, 0, 0),
            stalled_since: None,
            low_told: false,
            dry: false,
            kept: Kept::default(),
            lead: Lead::new(node.map_or(0, |node| node.ahead_us)),
            resends: VecDeque::new(),
            notices: Vec::new(),
            counters: Counters::default(),
            heard: Heard::default(),
        })
    }

    /// What was counted; a wait that goes on is counted in.
    pub fn counters(&self, now: u64) -> Counters {
        let stalled = self.stalled_since.map_or(0, |at| now.saturating_sub(at));
        Counters {
            stalled_us: self.counters.stalled_us + stalled,
            ..self.counters
        }
    }

    /// What it is at.
    pub fn state(&self) -> State {
        self.state
    }

    /// These tracks have a destination, and no other.
    pub fn reach(&mut self, tracks: &[u8]) {
        for track in &mut self.tracks {
            track.reached = tracks.contains(&track.spec.track);
        }
    }

    /// Queues a block.
    pub fn feed(&mut self, block: Block) -> Result<(), Refused> {
        if self.finished {
            return Err(Refused::Finished);
        }
        if block.due_us < self.end_us && self.node.is_none() {
            return Err(Refused::Order);
        }
        if self.queue.bytes() + block.size() > self.max_bytes {
            return Err(Refused::Full);
        }
        self.end_us = self.end_us.max(block.end_us);
        if self.node.is_some() {
            self.queue.insert(block);
        } else {
            self.queue.push(block);
        }
        (self.low_told, self.dry) = (false, false);
        Ok(())
    }

    /// Nothing more will be fed.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Plays; each track's next sequence number, and its timestamp of the start.
    pub fn start(&mut self, start: &Start, now: u64) -> Result<Vec<(u8, u16, u32)>, Refused> {
        if !self.tracks.iter().any(|track| track.reached) {
            return Err(Refused::Nowhere);
        }
        if !possible(start.rate) || !possible(start.scale) {
            return Err(Refused::Value("rate and scale are 1/64 to 64"));
        }
        if start.from_us > MAX_US {
            return Err(Refused::Value("a media time beyond any title"));
        }
        let from_us = start.from_us;
        if start.until_us.is_some_and(|until| until < from_us) {
            return Err(Refused::Value("an end before the beginning"));
        }
        let line_us = if self.node.is_some() {
            from_us
        } else if self.time.is_some() {
            self.line(now) + start.at.saturating_sub(now) + self.preroll(from_us)
        } else {
            0
        };
        self.time = Some(Timeline {
            origin_us: from_us,
            line_us,
            at: start.at,
            from_us,
            rate: start.rate,
            scale: start.scale,
        });
        self.lead.restart(start.at);
        self.keys_only = start.keys_only;
        self.until_us = start.until_us;
        for track in &mut self.tracks {
            let id = track.spec.track;
            let wanted = start.tracks.as_ref();
            track.wanted = wanted.is_none_or(|wanted| wanted.contains(&id));
        }
        self.state = State::Playing;
        (self.settled, self.low_told, self.dry) = (false, false, false);
        let info = |track: &Track| {
            let id = track.spec.track;
            (id, track.sequence, track.timestamp_of(line_us))
        };
        let mut found: Vec<_> = self.tracks.iter().map(info).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Stops for a while; the media time from which nothing is lost.
    pub fn pause(&mut self, now: u64) -> u64 {
        let position = self.position(now);
        if let (State::Playing, Some(time)) = (self.state, &self.time) {
            self.stopped = (position, time.line(position), now);
            self.state = State::Paused;
            self.counters = self.counters(now);
            self.stalled_since = None;
        }
        position
    }

    /// Changes how fast packets go out from `at` on; with `from_us`, that media time is due then.
    pub fn set_rate(&mut self, rate: f64, at: u64, from_us: Option<u64>) -> Result<(), Refused> {
        if !possible(rate) {
            return Err(Refused::Value("rate and scale are 1/64 to 64"));
        }
        if from_us.is_some_and(|from_us| from_us > MAX_US) {
            return Err(Refused::Value("a media time beyond any title"));
        }
        if let Some(time) = &mut self.time {
            time.set_rate(rate, at, from_us);
        }
        Ok(())
    }

    /// Stops and forgets what was fed.
    pub fn flush(&mut self, now: u64) {
        self.pause(now);
        self.queue.clear();
        self.end_us = 0;
        (self.fresh, self.finished) = (true, false);
        if self.state == State::Ended {
            self.state = State::Paused;
        }
    }

    /// RTP's time now, µs since that of the first start: it goes on while nothing is sent.
    pub(super) fn line(&self, now: u64) -> u64 {
        match (&self.time, self.state) {
            (None, _) => 0,
            (Some(time), State::Playing) => time.line(time.media(now)),
            (Some(_), _) => self.stopped.1 + now.saturating_sub(self.stopped.2),
        }
    }

    /// Media time that plays now; not beyond the next packet or the end.
    pub fn position(&self, now: u64) -> u64 {
        let Some(time) = self.time.as_ref().filter(|_| self.state == State::Playing) else {
            return self.stopped.0;
        };
        let media = time.media(now);
        if !self.settled {
            return media.min(time.origin_us);
        }
        let next = self.queue.first().map_or(media, |one| one.due_us);
        media.min(next).min(self.stop_us().unwrap_or(media))
    }

    /// Media time that is fed and not played, µs, and bytes of its blocks.
    pub fn queued(&self, now: u64) -> (u64, usize) {
        if self.queue.is_empty() {
            return (0, 0);
        }
        let queued = self.end_us.saturating_sub(self.position(now));
        (queued, self.queue.bytes())
    }

    fn preroll(&self, from_us: u64) -> u64 {
        let entries = self.queue.entries(from_us);
        let first = entries.iter().map(|(_, _, due)| *due).min();
        from_us - first.unwrap_or(from_us)
    }

    /// Finds where each track begins, once everything that matters for it is fed.
    fn settle(&mut self) {
        let Some(from_us) = self.time.map(|time| time.origin_us) else {
            return;
        };
        let known = self.stop_us().is_some() || self.end_us > from_us;
        if self.settled || !known {
            return;
        }
        self.settled = true;
        let entries = self.queue.entries(from_us);
        let begin = if self.fresh {
            self.queue.from(from_us)
        } else {
            0
        };
        for track in &mut self.tracks {
            let entry = entries.iter().find(|entry| entry.0 == track.spec.track);
            track.entry = match entry {
                // What a node stopped short of is sent, whatever key units follow.
                _ if self.node.is_some() && !self.fresh => 0,
                Some(entry) => entry.1,
                None => begin,
            };
        }
        self.fresh = false;
        // What precedes every beginning is not waited for.
        while let Some(first) = self.queue.first()
            && self.tracks.iter().all(|track| first.position < track.entry)
        {
            self.queue.advance();
        }
    }

    /// Whether a packet is to be sent.
    pub(super) fn wants(&self, one: &Waiting<'_>) -> bool {
        let track = one.record.track;
        let track = self.tracks.iter().find(|known| known.spec.track == track);
        // Of a part, blocks may come that lie before all that was fed at the beginning.
        let after = |time: &Timeline| self.node.is_some() && one.due_us >= time.origin_us;
        let begun = self.time.as_ref().is_some_and(after);
        track.is_some_and(|track| {
            track.reached
                && track.wanted
                && (one.position >= track.entry || begun)
                && (one.record.flags & KEY != 0 || !self.keys_only)
        })
    }

    /// Adds to `batch` what goes out now, not much more than `room` bytes. Without room it waits for
    /// its connection.
    pub fn take(&mut self, now: u64, room: usize, batch: &mut Batch) {
        if self.state != State::Playing {
            self.take_resends(room, batch);
            return;
        }
        self.settle();
        if room == 0 {
            // Nothing calls again before there is room: what waits is due from then on.
            if let Some(due) = self.next_packet() {
                self.stalled_since.get_or_insert(due.max(now));
            }
            self.tell(now);
            return;
        }
        if let Some(since) = self.stalled_since.take() {
            self.counters.stalled_us += now.saturating_sub(since);
        }
        self.take_resends(room, batch);
        let until = self.until_us.unwrap_or(u64::MAX);
        while self.settled && batch.bytes() < room {
            let Some((next, time)) = self.queue.first().zip(self.time) else {
                break;
            };
            let due = time.wall(next.due_us);
            if due > now || next.due_us >= until {
                break;
            }
            if self.wants(&next) {
                self.lead.note(due, now, &time);
                self.send(due, now, batch);
            }
            self.queue.advance();
        }
        self.tell(now);
    }

    /// Sends the packet that is next.
    pub(super) fn send(&mut self, due: u64, now: u64, batch: &mut Batch) {
        let (Some(next), Some(time)) = (self.queue.first(), &mut self.time) else {
            return;
        };
        let mut late = now.saturating_sub(due);
        if late > MAX_BEHIND && self.node.is_none() {
            let slip = late - MAX_BEHIND;
            time.at += slip;
            self.counters.slipped_us += slip;
            late = MAX_BEHIND;
        }
        let id = next.record.track;
        let line_us = time.line(time.media(now));
        let Some(track) = self.tracks.iter_mut().find(|one| one.spec.track == id) else {
            return;
        };
        let since = track.reported.map(|at| now.saturating_sub(at));
        if since.is_none_or(|since| since >= REPORT_INTERVAL) {
            track.reported = Some(now);
            let report = sender_report(track, line_us, &self.cname, now);
            batch.reports.push((id, report));
        }
        let (record, due_us) = (next.record, next.due_us);
        let before = batch.bytes();
        if let Some(node) = &self.node {
            self.kept.forget(now, node.keep_us);
            let numbers = (next.total as u32, self.kept.next());
            let head = track.node_head(&record, due_us, time, node, numbers);
            batch.push(id, &head, next.block, record);
            self.kept.push(
                now,
                Sent {
                    track: id,
                    head,
                    block: next.block.clone(),
                    record,
                },
            );
        } else {
            let head = track.head(&record, due_us, time);
            batch.push(id, &head, next.block, record);
        }
        track.packets = track.packets.wrapping_add(1);
        let octets = next.block.payload(&record).len() as u32;
        track.octets = track.octets.wrapping_add(octets);
        self.counters.packets += 1;
        self.counters.bytes += (batch.bytes() - before) as u64;
        self.counters.late(late);
    }

    /// Sends packets again, each once at most; how many there will be.
    pub fn resend(&mut self, numbers: &[u32], now: u64) -> Result<usize, Refused> {
        let Some(node) = &self.node else {
            return Err(Refused::Value(
                "only a sender that is a node's keeps packets",
            ));
        };
        self.kept.forget(now, node.keep_us);
        let mut found = 0;
        for number in numbers {
            if self.resends.len() < MAX_RESENDS
                && let Some(sent) = self.kept.take(*number)
            {
                self.resends.push_back(sent);
                found += 1;
            }
        }
        self.counters.resent += found as u64;
        self.counters.resend_refused += (numbers.len() - found) as u64;
        Ok(found)
    }

    fn take_resends(&mut self, room: usize, batch: &mut Batch) {
        while batch.bytes() < room
            && let Some(sent) = self.resends.pop_front()
        {
            batch.push(sent.track, &sent.head, &sent.block, sent.record);
        }
    }
}
