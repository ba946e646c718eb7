//! What is known of a reader outside the thread that serves it.

use crate::event::Id;
use crate::plane::ChannelCell;
use crate::rtcp::{self, Report};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// How packets reach a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Datagrams.
    Udp,
    /// An RTSP connection or a WebSocket.
    Stream,
    /// A WebRTC session.
    Rtc,
    /// Python.
    Tap,
}

/// Not started yet, or paused.
pub const PAUSED: u8 = 0;
/// Gets everything.
pub const PLAYING: u8 = 1;
/// Lags: gets sound only until it is level and a keyframe comes.
pub const AUDIO_ONLY: u8 = 2;

/// Counters and state of a reader; written by its thread, read by anyone.
#[derive(Debug)]
pub struct ReaderShared {
    /// Its id.
    pub id: Id,
    /// Its channel.
    pub cell: Arc<ChannelCell>,
    /// How packets reach it.
    pub way: Way,
    /// The worker that serves it.
    pub worker: usize,
    /// Frames instead of packets.
    pub frames: bool,
    /// Where it begins when started.
    pub position: AtomicU64,
    /// Packets (or frames) sent.
    pub packets: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Video packets it lost by lagging.
    pub dropped_video: AtomicU64,
    /// Audio packets it lost by lagging.
    pub dropped_audio: AtomicU64,
    /// Messages the kernel would not send.
    pub errors: AtomicU64,
    /// How far behind the newest packet it is, µs.
    pub lag_us: AtomicU64,
    /// Loss by its latest receiver report, 1/1000.
    pub loss_permille: AtomicU64,
    /// Jitter by its latest receiver report, µs.
    pub jitter_us: AtomicU64,
    /// What the way to it takes by its feedback, bits a second; 0 where that is not measured.
    pub estimate: AtomicU64,
    /// The simulcast layer it gets, by its publisher's name; empty where there is one picture only.
    pub layer: Mutex<String>,
    /// When its latest report came; 0 for never.
    pub last_report: AtomicU64,
    /// [`PAUSED`], [`PLAYING`], [`AUDIO_ONLY`].
    pub state: AtomicU8,
}

impl ReaderShared {
    /// A reader that has not started.
    pub fn new(id: Id, cell: &Arc<ChannelCell>, way: Way, worker: usize, frames: bool) -> Self {
        Self {
            id,
            cell: Arc::clone(cell),
            way,
            worker,
            frames,
            position: AtomicU64::new(u64::MAX),
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            dropped_video: AtomicU64::new(0),
            dropped_audio: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            lag_us: AtomicU64::new(0),
            loss_permille: AtomicU64::new(0),
            jitter_us: AtomicU64::new(0),
            estimate: AtomicU64::new(0),
            layer: Mutex::default(),
            last_report: AtomicU64::new(0),
            state: AtomicU8::new(PAUSED),
        }
    }

    /// Counts what was sent. Only the reader's own thread calls it, so no atomic addition is paid.
    pub fn sent(&self, packets: u64, bytes: u64) {
        self.packets.store(
            self.packets.load(Ordering::Relaxed) + packets,
            Ordering::Relaxed,
        );
        self.bytes.store(
            self.bytes.load(Ordering::Relaxed) + bytes,
            Ordering::Relaxed,
        );
    }

    /// Notes a reader's RTCP; `false` when it was malformed.
    pub fn report(&self, data: &[u8], clock_rate: impl Fn(u32) -> u32, now: u64) -> bool {
        let Some(reports) = rtcp::parse(data) else {
            return false;
        };
        self.last_report.store(now, Ordering::Relaxed);
        for report in reports {
            if let Report::Block(block) = report {
                let rate = u64::from(clock_rate(block.ssrc).max(1));
                let loss = u64::from(block.fraction_lost) * 1_000 / 256;
                self.loss_permille.store(loss, Ordering::Relaxed);
                self.jitter_us.store(
                    u64::from(block.jitter) * 1_000_000 / rate,
                    Ordering::Relaxed,
                );
            }
        }
        true
    }
}
