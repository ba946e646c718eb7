//! A channel: sources compete to feed it, one ring remembers it, readers of every kind follow it.
//!
//! Pure: packets and time come in as arguments, events and reports are collected for the caller.
//! Everything every reader sees is made here, once: numbers, timestamps, sender reports.

mod numbered;
mod rate;
mod readers;
mod relay;
mod reports;
mod sources;
mod taps;
mod track;

pub use numbered::SUCCESSION_STEP;
pub use taps::Tap;
pub use track::TrackOut;

use crate::event::{Event, Id};
use crate::frames::FrameLog;
use crate::ring::Ring;
use crate::source::Source;
use rate::Rate;
use reports::REPORT_INTERVAL;

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
    /// Another unit numbers the current epoch.
    foreign: bool,
    /// The highest epoch that was claimed for this unit.
    claimed: u32,
    frame_users: usize,
    taps: Vec<Tap>,
    rate: Rate,
    reports_due: u64,
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
            foreign: false,
            claimed: 0,
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

    /// Whether a source of this unit is, or was, the one that the current epoch is of.
    pub fn numbered_here(&self) -> bool {
        self.epoch > 0 && !self.foreign
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

    /// Notices silence and prepares receiver reports; to be called when that is [`Channel::due`].
    pub fn tick(&mut self, now: u64) {
        self.notice_silence(now);
        if now >= self.reports_due {
            self.reports_due = now + REPORT_INTERVAL;
            self.report_reception(now);
        }
        self.rate.roll(now);
    }

    /// When a source will have been silent for long enough to be replaced, or reports are due. One
    /// that speaks up meanwhile is not late either: nobody falls silent sooner.
    pub fn due(&self, now: u64) -> u64 {
        let silences = self.sources.iter().filter_map(Source::heard_last);
        silences
            .chain([now])
            .map(|last| last + self.config.silence_us)
            .chain([self.reports_due])
            .min()
            .unwrap_or(now)
    }
}
