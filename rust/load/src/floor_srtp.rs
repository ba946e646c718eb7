//! `floor-srtp`: what sealing and sending the same packets costs without a server around it. It
//! takes RTP on one UDP port and sends each frame, sealed with a key of its own, to every reader.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::AsRawFd;

use crate::args::Args;
use crate::floor::{Mode, runs};
use crate::json::{self, Object};
use crate::media::RTP_HEADER;
use crate::srtp::{Sealer, Use};
use crate::sys::{self, Epoll, Message, Receiver, Sender};

/// Socket buffers: the largest this kernel allows without a privilege is enough for a second.
const BUFFER: i32 = 4 * 1024 * 1024;
/// Messages a call: beyond it the cost of a call no longer shows.
const BATCH: usize = 128;
/// The header extension that a server sends along: one element with a transport-wide number
/// (RFC 8285 4.2).
const EXTENSION: [u8; 8] = [0xBE, 0xDE, 0, 1, 0x31, 0, 0, 0];
const FIRST_PORT: u16 = 20_000;

/// One reader.
struct Reader {
    to: libc::sockaddr_in,
    sealer: Sealer,
    ssrc: u32,
    number: u64,
}

/// Seals and sends.
struct Fan {
    readers: Vec<Reader>,
    mode: Mode,
    sender: Sender,
    sealed: Vec<u8>,
    ends: Vec<usize>,
    messages: Vec<Message>,
    sent: u64,
    refused: u64,
}

impl Fan {
    fn burst(&mut self, fd: &impl AsRawFd, packets: &[Vec<u8>]) {
        let sizes: Vec<usize> = packets.iter().map(Vec::len).collect();
        let runs = if self.mode == Mode::Segment {
            runs(&sizes)
        } else {
            (0..packets.len()).map(|first| (first, 1)).collect()
        };
        for index in 0..self.readers.len() {
            let reader = &mut self.readers[index];
            let begin = self.ends.len();
            for packet in packets {
                let mut head = [0; RTP_HEADER + EXTENSION.len()];
                head[..RTP_HEADER].copy_from_slice(&packet[..RTP_HEADER]);
                head[0] |= 0x10;
                head[2..4].copy_from_slice(&(reader.number as u16).to_be_bytes());
                head[8..RTP_HEADER].copy_from_slice(&reader.ssrc.to_be_bytes());
                head[RTP_HEADER..].copy_from_slice(&EXTENSION);
                head[RTP_HEADER + 5..RTP_HEADER + 7]
                    .copy_from_slice(&(reader.number as u16).to_be_bytes());
                let (ssrc, number) = (reader.ssrc, reader.number);
                let body = &packet[RTP_HEADER..];
                reader
                    .sealer
                    .rtp(ssrc, number, &head, body, &mut self.sealed);
                self.ends.push(self.sealed.len());
                reader.number += 1;
            }
            for &(first, count) in &runs {
                self.messages.push(Message {
                    to: reader.to,
                    first: begin + first,
                    count,
                    segment: (sizes[first] + EXTENSION.len() + crate::srtp::TAG) as u16,
                });
            }
            if self.messages.len() >= BATCH {
                self.flush(fd);
            }
        }
        self.flush(fd);
    }

    fn flush(&mut self, fd: &impl AsRawFd) {
        let mut start = 0;
        let mut buffers = Vec::with_capacity(self.ends.len());
        for &end in &self.ends {
            buffers.push(sys::iovec(&self.sealed[start..end]));
            start = end;
        }
        let mut done = 0;
        while done < self.messages.len() {
            if let Ok(sent) = self.sender.send(fd, &mut self.messages[done..], &buffers) {
                let went = &self.messages[done..done + sent];
                self.sent += went.iter().map(|m| m.count as u64).sum::<u64>();
                done += sent;
            } else {
                self.refused += self.messages[done].count as u64;
                done += 1;
            }
        }
        self.messages.clear();
        self.sealed.clear();
        self.ends.clear();
    }
}

/// Runs the sub-command until it is ended by a signal or `--seconds` are over.
pub fn run(args: &Args) -> Result<(), String> {
    let rtp_port: u16 = args.number("rtp-port", 8200)?;
    let ready_port: u16 = args.number("ready-port", 8754)?;
    let first_port: u16 = args.number("first-port", FIRST_PORT)?;
    let dests: u16 = args.number("dests", 1000)?;
    let seconds: u64 = args.number("seconds", 3600)?;
    let key = match args.text("key-bits", "256") {
        "128" => vec![7; 16],
        "256" => vec![7; 32],
        other => return Err(format!("--key-bits {other}: 128 or 256")),
    };
    let crypto = str0m::crypto::from_feature_flags();
    let error = |e: std::io::Error| e.to_string();
    let local = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let ingest = sys::udp_bind(local(rtp_port), BUFFER).map_err(error)?;
    let output = sys::udp_bind(local(0), 4096).map_err(error)?;
    let _ = sys::set_option(&output, libc::SOL_SOCKET, libc::SO_SNDBUF, BUFFER);
    // Whoever waits for a server connects to it.
    let _ready = TcpListener::bind(local(ready_port)).map_err(error)?;
    let mut fan = Fan {
        readers: (0..dests)
            .map(|i| Reader {
                to: sys::sockaddr(local(first_port + i)),
                sealer: Sealer::new(&crypto, &key, &[i as u8; 12], Use::Rtp),
                ssrc: u32::from(i) + 1,
                number: 1,
            })
            .collect(),
        mode: Mode::parse(args.text("mode", "segment"))?,
        sender: Sender::new(BATCH),
        sealed: Vec::new(),
        ends: Vec::new(),
        messages: Vec::new(),
        sent: 0,
        refused: 0,
    };
    let mut epoll = Epoll::new().map_err(error)?;
    epoll.add(&ingest, 0).map_err(error)?;
    let mut receiver = Receiver::new(64, sys::WHOLE);
    let (mut burst, mut tokens) = (Vec::new(), Vec::new());
    json::event("listening");
    let end = sys::now_us() + seconds * 1_000_000;
    while sys::now_us() < end {
        epoll.wait(10, &mut tokens);
        if tokens.is_empty() {
            continue;
        }
        for i in 0..receiver.receive(ingest.as_raw_fd()) {
            let packet = receiver.get(i).head;
            if packet.len() < RTP_HEADER {
                continue;
            }
            burst.push(packet.to_vec());
            if packet[1] & 0x80 != 0 {
                fan.burst(&output, &burst);
                burst.clear();
            }
        }
    }
    Object::new()
        .int("sent", fan.sent)
        .int("refused", fan.refused)
        .int("cpu_us", sys::cpu_us())
        .print();
    Ok(())
}
