//! `whip-publish`: sends the stream as a browser does, by WebRTC.

use std::time::{Duration, Instant};

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use str0m::media::{Direction, Pt};
use str0m::rtp::RtpWrite;

use crate::args::Args;
use crate::http::{Http, HttpUrl};
use crate::json::{self, Object};
use crate::media::{RTP_HEADER, Source};
use crate::peer::{Kit, Peer, Purpose};
use crate::publish;
use crate::sentlog::SentLog;
use crate::sys::{self, Epoll, Receiver};

/// Time until the session must stand, µs.
const CONNECT_US: u64 = 10_000_000;
const BATCH: usize = 16;

struct Line {
    peer: Peer,
    epoll: Epoll,
    receiver: Receiver,
    tokens: Vec<u64>,
}

impl Line {
    /// Takes what came, until a time.
    fn serve(&mut self, until_us: u64) {
        loop {
            let now = Instant::now();
            if self.peer.due <= now {
                self.peer.tick(now);
            }
            let left_us = until_us.saturating_sub(sys::now_us());
            let due_us = self.peer.due.saturating_duration_since(now).as_micros() as u64;
            let wait_us = left_us.min(due_us);
            if left_us == 0 {
                return;
            }
            if wait_us < 1000 {
                // epoll counts in milliseconds; the frame is not to be late for that.
                sys::sleep_until(sys::now_us() + wait_us);
                self.tokens.clear();
                self.tokens.push(0);
            } else {
                self.epoll.wait((wait_us / 1000) as i32, &mut self.tokens);
            }
            if self.tokens.is_empty() {
                continue;
            }
            let count = self.receiver.receive(self.peer.socket.as_raw_fd());
            for i in 0..count {
                self.peer.receive(Instant::now(), self.receiver.get(i).head);
            }
        }
    }

    /// Sends the packets of a frame.
    fn send(&mut self, source: &Source, number: &mut u64) -> Result<(), String> {
        let now = Instant::now();
        let (mid, pt) = (self.peer.mid, Pt::from(self.peer.terms.video));
        for packet in &source.packets {
            let timestamp = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
            let body = packet[RTP_HEADER..].to_vec();
            let write = RtpWrite::new(pt, (*number).into(), timestamp, now, body)
                .marker(packet[1] & 0x80 != 0)
                .nackable(true);
            *number += 1;
            let mut api = self.peer.rtc().direct_api();
            let stream = api.stream_tx_by_mid(mid, None);
            stream.ok_or("whip: no stream to send by")?.write_rtp(write);
            // The stack holds one frame's packets and no more: each goes out at once.
            self.peer.tick(Instant::now());
        }
        Ok(())
    }
}

/// Runs the sub-command.
pub fn run(args: &Args) -> Result<(), String> {
    let url = HttpUrl::parse(args.required("url")?)?;
    let shape = publish::shape(args)?;
    if shape.audio {
        return Err("whip-publish: video only".to_owned());
    }
    let seconds: u64 = args.number("seconds", 3600)?;
    let log = match args.text("log", "") {
        "" => None,
        path => Some(SentLog::create(path)?),
    };
    let kit = Kit::new()?;
    let mut http = Http::connect(url.address, None)?;
    let purpose = Purpose {
        path: &url.path,
        key: args.text("key", ""),
        direction: Direction::SendOnly,
        feedback: true,
    };
    let local = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let peer = Peer::new(&kit, &mut http, local, &purpose)?;
    let epoll = Epoll::new().map_err(|e| e.to_string())?;
    epoll.add(&peer.socket, 0).map_err(|e| e.to_string())?;
    let mut line = Line {
        peer,
        epoll,
        receiver: Receiver::new(BATCH, sys::WHOLE),
        tokens: Vec::new(),
    };
    let give_up = sys::now_us() + CONNECT_US;
    while !line.peer.connected {
        if line.peer.closed || sys::now_us() > give_up {
            return Err("whip: not connected".to_owned());
        }
        line.serve(sys::now_us() + Duration::from_millis(5).as_micros() as u64);
    }
    json::event("publishing");
    let mut source = Source::new(shape, Vec::new());
    let (start, mut number, mut late_us) = (sys::now_us(), 1, 0);
    for frame in 0..seconds * shape.fps {
        let due = start + frame * 1_000_000 / shape.fps;
        line.serve(due);
        if line.peer.closed {
            return Err("whip: the session has ended".to_owned());
        }
        let now = sys::now_us();
        late_us = late_us.max(now - due);
        source.next_frame(now);
        if let Some(log) = &log {
            log.note(frame, now)?;
        }
        line.send(&source, &mut number)?;
    }
    Object::new()
        .int("packets", number - 1)
        .int("late_max_us", late_us)
        .print();
    Ok(())
}
