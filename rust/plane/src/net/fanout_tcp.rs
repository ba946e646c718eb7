//! Readers on connections. Those who are level are written the same bytes, framed once; one whose
//! socket is full goes on alone from its cursor: sound goes before pictures, and pictures are left out
//! when it stays behind.

use crate::event::Id;
use crate::frames::FRAME_FLAGS;
use crate::lock;
use crate::net::conn::{Conn, interleave};
use crate::net::fanout::{Begin, Conns};
use crate::net::roster::{Named, Roster};
use crate::net::websocket;
use crate::plane::{ChannelCell, Hub, Tally};
use crate::reader::{AUDIO_ONLY, PLAYING, ReaderShared};
use crate::ring::{DISCONTINUITY, Item, KEY, RTCP, Ring};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What one reader that goes alone is written at a time.
const CHUNK: usize = 64 << 10;
/// Chunks before others have their turn.
const CHUNKS: usize = 8;
/// A reader that has just begun may take so long to swallow what precedes the live edge before it
/// counts as lagging, µs.
const START_GRACE: u64 = 2_000_000;

/// (track, RTP channel, RTCP channel): which packets a reader wants and how they are framed.
pub type Channels = Vec<(u8, u8, u8)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Everything.
    Whole,
    /// Sound only, until level.
    AudioOnly,
    /// Sound only, until a keyframe.
    AwaitKey,
}

#[derive(Debug)]
struct StreamReader {
    shared: Arc<ReaderShared>,
    conn: Id,
    channels: Channels,
    cursor: u64,
    /// Sound before this position has been sent; beyond the cursor while pictures wait.
    heard: u64,
    playing: bool,
    mode: Mode,
    behind_since: Option<u64>,
    cut: bool,
}

impl Named for StreamReader {
    fn id(&self) -> Id {
        self.shared.id
    }
}

/// The readers of one log (packets or frames).
#[derive(Debug)]
pub struct StreamFanout {
    frames: bool,
    readers: Roster<StreamReader>,
    level: u64,
    /// Connections whose sockets did not take everything since the worker looked last.
    pub blocked: Vec<Id>,
}

/// Items framed for the wire, with where each ends.
#[derive(Default)]
struct Framed {
    bytes: Vec<u8>,
    ends: Vec<(u64, usize)>,
    /// How many of them are sound that goes before pictures, and the position it reaches to.
    ahead: usize,
    heard: u64,
    /// Positions left out because the reader lags.
    skipped: Vec<u64>,
    /// Position of the first picture after something was left out.
    resumed: Option<u64>,
}

impl Framed {
    fn add(
        &mut self,
        item: &Item,
        position: u64,
        channels: &Channels,
        frames: bool,
        cut: bool,
    ) -> bool {
        let Some((_, media, control)) = channels.iter().find(|entry| entry.0 == item.track) else {
            return false;
        };
        if frames {
            websocket::header(&mut self.bytes, websocket::BINARY, item.data.len());
            let start = self.bytes.len();
            self.bytes.extend_from_slice(&item.data);
            if cut {
                self.bytes[start + FRAME_FLAGS] |= DISCONTINUITY;
            }
        } else {
            let channel = if item.flags & RTCP == 0 {
                *media
            } else {
                *control
            };
            interleave(&mut self.bytes, channel, &[&item.data]);
        }
        self.ends.push((position, self.bytes.len()));
        true
    }
}

impl StreamFanout {
    /// Nobody yet.
    pub fn new(frames: bool) -> Self {
        Self {
            frames,
            readers: Roster::default(),
            level: 0,
            blocked: Vec::new(),
        }
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.readers.is_empty()
    }

    /// Position up to which level readers are served; far ahead when there are none.
    pub fn level(&self) -> u64 {
        if self.readers.is_empty() {
            u64::MAX
        } else {
            self.level
        }
    }

    /// Adds a reader, paused.
    pub fn add(&mut self, shared: Arc<ReaderShared>, conn: Id, channels: Channels) {
        self.readers.add(StreamReader {
            shared,
            conn,
            channels,
            cursor: 0,
            heard: 0,
            playing: false,
            mode: Mode::Whole,
            behind_since: None,
            cut: false,
        });
    }

    /// Starts one, if it is here: it gets at once what the others had, and the rest together with
    /// them.
    pub fn start(
        &mut self,
        id: Id,
        begin: Begin,
        reports: &[(u8, Vec<u8>)],
        cell: &ChannelCell,
        conns: &mut Conns,
        hub: &Hub,
    ) {
        let first = !self.readers.rows().iter().any(|reader| reader.playing);
        let (frames, level) = (self.frames, if first { begin.head } else { self.level });
        let Some(reader) = self.readers.get_mut(id) else {
            return;
        };
        self.level = level;
        reader.cursor = begin.position;
        reader.heard = begin.position; // after a pause something of what was heard comes again
        reader.playing = true;
        reader.mode = Mode::Whole;
        reader.behind_since = Some(begin.now + START_GRACE);
        if let Some(conn) = conns.get_mut(&reader.conn) {
            for (track, _, control) in &reader.channels {
                if let Some((_, report)) = reports.iter().find(|(of, _)| of == track) {
                    conn.send_packet(*control, report);
                }
            }
            // A socket that is gone is noticed by the loop that reads it.
            let _ = conn.flush();
            if conn.clear() {
                let tally = pump(reader, frames, level, conn, cell, begin.now);
                cell.sent(hub, &tally);
                if conn.watching_write {
                    self.blocked.push(conn.id);
                }
            }
        }
    }

    /// Pauses one.
    pub fn pause(&mut self, id: Id) {
        if let Some(reader) = self.readers.get_mut(id) {
            reader.playing = false;
        }
    }

    /// Removes one; its connection.
    pub fn remove(&mut self, id: Id) -> Option<Id> {
        self.readers.remove(id).map(|reader| reader.conn)
    }

    /// Writes what is new to everybody whose socket is free.
    pub fn flush(&mut self, cell: &ChannelCell, conns: &mut Conns, hub: &Hub, now: u64) {
        if self.readers.is_empty() {
            return;
        }
        let level = self.level;
        let (items, head) = {
            let channel = lock(&cell.state);
            let Some(ring) = channel.log(self.frames) else {
                return;
            };
            // A log made anew counts on, but holds nothing of what was.
            let items = if level < ring.tail() {
                Vec::new()
            } else {
                ring.from(level).cloned().collect::<Vec<_>>()
            };
            (items, ring.head())
        };
        self.level = head;
        let mut shared: Vec<(Channels, Framed)> = Vec::new();
        let mut tally = Tally::default();
        for reader in self.readers.rows_mut() {
            if !reader.playing {
                continue;
            }
            let Some(conn) = conns.get_mut(&reader.conn) else {
                continue;
            };
            if !conn.clear() {
                continue; // goes on when its socket does
            }
            let level_with_all =
                reader.cursor == level && reader.mode == Mode::Whole && !items.is_empty();
            if !level_with_all {
                tally += pump(reader, self.frames, u64::MAX, conn, cell, now);
                if conn.watching_write {
                    self.blocked.push(conn.id);
                }
                continue;
            }
            let known = shared.iter().position(|(key, _)| *key == reader.channels);
            let at = known.unwrap_or_else(|| {
                let mut framed = Framed::default();
                for (position, item) in (level..).zip(&items) {
                    framed.add(item, position, &reader.channels, self.frames, false);
                }
                shared.push((reader.channels.clone(), framed));
                shared.len() - 1
            });
            let framed = &shared[at].1;
            if write(reader, conn, framed, head, now, &mut tally).is_ok_and(|level| level) {
                reader.behind_since = None;
            } else {
                self.blocked.push(conn.id);
            }
        }
        cell.sent(hub, &tally);
    }

    /// The socket of a connection is free again: its reader goes on.
    pub fn resume(&mut self, id: Id, cell: &ChannelCell, conn: &mut Conn, hub: &Hub, now: u64) {
        let frames = self.frames;
        if let Some(reader) = self.readers.get_mut(id)
            && reader.playing
            && conn.clear()
        {
            let tally = pump(reader, frames, u64::MAX, conn, cell, now);
            cell.sent(hub, &tally);
        }
    }
}

/// Writes framed items; `true` when the reader is at `end` and the kernel has everything.
fn write(
    reader: &mut StreamReader,
    conn: &mut Conn,
    framed: &Framed,
    end: u64,
    now: u64,
    tally: &mut Tally,
) -> io::Result<bool> {
    let taken = if framed.bytes.is_empty() {
        0
    } else {
        conn.write(&framed.bytes)?
    };
    let whole = framed.ends.partition_point(|(_, ends)| *ends <= taken);
    let mut sent = whole as u64;
    let done = taken == framed.bytes.len();
    if whole >= framed.ahead {
        reader.heard = reader.heard.max(framed.heard);
    }
    if done {
        reader.cursor = end;
    } else {
        let before = if whole == 0 {
            0
        } else {
            framed.ends[whole - 1].1
        };
        let (position, ends) = framed.ends[whole];
        let next = if taken > before {
            conn.keep(&framed.bytes[taken..ends]);
            sent += 1;
            position + 1
        } else {
            position
        };
        if whole < framed.ahead {
            reader.heard = next;
        } else {
            reader.cursor = next;
        }
    }
    let level = done && conn.clear(); // TLS may have taken what the socket has not
    if !level {
        conn.watching_write = true;
        reader.behind_since.get_or_insert(now);
    }
    let skipped = framed
        .skipped
        .iter()
        .filter(|at| **at < reader.cursor)
        .count() as u64;
    reader
        .shared
        .dropped_video
        .fetch_add(skipped, Ordering::Relaxed);
    if framed.resumed.is_some_and(|at| at < reader.cursor) {
        reader.cut = false;
    }
    reader.shared.sent(sent, taken as u64);
    tally.packets += sent;
    tally.bytes += taken as u64;
    Ok(level)
}

/// Serves one reader from its own cursor, not further than `until`; what it was sent.
fn pump(
    reader: &mut StreamReader,
    frames: bool,
    until: u64,
    conn: &mut Conn,
    cell: &ChannelCell,
    now: u64,
) -> Tally {
    let mut tally = Tally::default();
    for _ in 0..CHUNKS {
        let mut framed = Framed::default();
        let (end, level) = {
            let channel = lock(&cell.state);
            let Some(ring) = channel.log(frames) else {
                return tally;
            };
            let lag_us = channel.config.lag_us;
            let until = until.min(ring.head());
            let end = reader.fill(ring, frames, until, lag_us, now, &mut framed);
            (end, framed.bytes.is_empty() && end >= until)
        };
        match write(reader, conn, &framed, end, now, &mut tally) {
            Ok(true) if level => {
                reader.level();
                return tally;
            }
            Ok(true) => {}
            Ok(false) | Err(_) => return tally,
        }
    }
    // More is left, and others wait: the socket is writable, so the next round goes on.
    conn.watching_write = true;
    tally
}

impl StreamReader {
    /// Everything was sent.
    fn level(&mut self) {
        self.behind_since = None;
        if self.mode == Mode::AudioOnly {
            self.mode = Mode::AwaitKey;
        }
    }

    /// Frames the next chunk by the rules for those who lag; the position after it.
    fn fill(
        &mut self,
        ring: &Ring,
        frames: bool,
        until: u64,
        lag_us: u64,
        now: u64,
        framed: &mut Framed,
    ) -> u64 {
        if self.cursor < ring.tail() {
            // Overtaken by the ring itself: sound and video are lost alike.
            // What sound was sent ahead is not lost: there only pictures are.
            let heard = self.heard.clamp(self.cursor, ring.tail());
            let (pictures, both) = (heard - self.cursor, ring.tail() - heard);
            let shared = &self.shared;
            shared.dropped_video.fetch_add(pictures, Ordering::Relaxed);
            shared.dropped_audio.fetch_add(both, Ordering::Relaxed);
            self.cursor = ring.tail();
            if self.mode == Mode::Whole {
                self.mode = Mode::AwaitKey;
            }
            self.cut = true;
        }
        let newest = ring
            .get(ring.head().wrapping_sub(1))
            .map_or(now, |item| item.arrival);
        let lag = ring
            .get(self.cursor)
            .map_or(0, |item| newest.saturating_sub(item.arrival));
        self.shared.lag_us.store(lag, Ordering::Relaxed);
        let patience_over = self.behind_since.is_some_and(|since| since + lag_us < now);
        if patience_over && lag > lag_us {
            self.mode = Mode::AudioOnly;
        }
        if self.behind_since.is_some_and(|since| since <= now) {
            self.fill_sound(ring, frames, until, framed);
        }
        let heard = self.heard.max(framed.heard);
        let mut position = self.cursor;
        for item in ring.from(self.cursor) {
            if framed.bytes.len() >= CHUNK || position >= until {
                break;
            }
            if item.video && self.mode == Mode::AwaitKey && item.flags & KEY != 0 {
                self.mode = Mode::Whole;
                self.cut = true;
            }
            if item.video && self.mode != Mode::Whole {
                if item.flags & RTCP == 0 && self.channels.iter().any(|entry| entry.0 == item.track)
                {
                    framed.skipped.push(position);
                }
            } else if item.video || position >= heard {
                let cut = self.cut && item.video && framed.resumed.is_none();
                if framed.add(item, position, &self.channels, frames, cut) && cut {
                    framed.resumed = Some(position);
                }
            }
            position += 1;
        }
        let state = if self.mode == Mode::Whole {
            PLAYING
        } else {
            AUDIO_ONLY
        };
        self.shared.state.store(state, Ordering::Relaxed);
        position
    }

    /// Frames sound that has not been sent, up to the newest: it is little, and a gap in it is
    /// noticed more than a late picture.
    fn fill_sound(&self, ring: &Ring, frames: bool, until: u64, framed: &mut Framed) {
        let mut position = self.heard.max(self.cursor);
        for item in ring.from(position) {
            if framed.bytes.len() >= CHUNK || position >= until {
                break;
            }
            if !item.video {
                framed.add(item, position, &self.channels, frames, false);
            }
            position += 1;
        }
        framed.ahead = framed.ends.len();
        framed.heard = position;
    }
}
