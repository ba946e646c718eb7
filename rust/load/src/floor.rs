//! `floor`: the bare relay loop. It takes RTP on one UDP port and writes each frame to every
//! reader, with nothing around it but the least RTSP that lets the same readers connect.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

use crate::args::Args;
use crate::json::{self, Object};
use crate::media::{RTP_HEADER, Shape, Source};
use crate::rtsp::{self, Message};
use crate::sys::{self, Epoll, Receiver, Sender};

const LISTENER: u64 = 0;
const INGEST: u64 = 1;
const FIRST_CONNECTION: u64 = 2;
/// Socket buffers: the largest this kernel allows without a privilege is enough for a second.
const BUFFER: i32 = 4 * 1024 * 1024;
/// Messages a call: beyond it the cost of a call no longer shows.
const BATCH: usize = 128;

/// How packets go out.
#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    /// One `sendto` a packet.
    SendTo,
    /// `sendmmsg`, one message a packet.
    SendMany,
    /// `sendmmsg`, one message a run of packets, with `UDP_SEGMENT`.
    Segment,
}

impl Mode {
    /// Reads the option's value.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "sendto" => Ok(Self::SendTo),
            "sendmmsg" => Ok(Self::SendMany),
            "segment" => Ok(Self::Segment),
            _ => Err(format!("--mode {text}: sendto, sendmmsg or segment")),
        }
    }
}

/// Runs of packets that segmentation offload can send as one: equal sizes, the last may be shorter.
pub fn runs(sizes: &[usize]) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut first = 0;
    while first < sizes.len() {
        let mut end = first + 1;
        while end < sizes.len()
            && end - first < sys::MAX_SEGMENTS
            && sizes[end] <= sizes[first]
            && sizes[end - 1] == sizes[first]
        {
            end += 1;
        }
        runs.push((first, end - first));
        first = end;
    }
    runs
}

/// Sends a burst of packets to every destination.
pub struct Fan {
    mode: Mode,
    sender: Sender,
    messages: Vec<sys::Message>,
    /// Packets handed to the kernel.
    pub sent: u64,
    /// Packets the kernel did not take.
    pub refused: u64,
}

impl Fan {
    /// A fan of one mode.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            sender: Sender::new(BATCH),
            messages: Vec::new(),
            sent: 0,
            refused: 0,
        }
    }

    /// Sends `packets` to each of `to`.
    pub fn burst(
        &mut self,
        fd: &impl AsRawFd,
        packets: &[Vec<u8>],
        to: impl Iterator<Item = libc::sockaddr_in>,
    ) {
        if self.mode == Mode::SendTo {
            for to in to {
                for packet in packets {
                    match sys::send_to(fd, packet, &to) {
                        Ok(()) => self.sent += 1,
                        Err(_) => self.refused += 1,
                    }
                }
            }
            return;
        }
        let sizes: Vec<usize> = packets.iter().map(Vec::len).collect();
        let runs = if self.mode == Mode::Segment {
            runs(&sizes)
        } else {
            (0..packets.len()).map(|first| (first, 1)).collect()
        };
        let buffers: Vec<libc::iovec> = packets.iter().map(|p| sys::iovec(p)).collect();
        for to in to {
            for &(first, count) in &runs {
                self.messages.push(sys::Message {
                    to,
                    first,
                    count,
                    segment: sizes[first] as u16,
                });
            }
            if self.messages.len() >= self.sender.capacity() {
                self.flush(fd, &buffers);
            }
        }
        self.flush(fd, &buffers);
    }

    fn flush(&mut self, fd: &impl AsRawFd, buffers: &[libc::iovec]) {
        let mut done = 0;
        while done < self.messages.len() {
            // An error concerns the first message: it is left out and counted.
            if let Ok(sent) = self.sender.send(fd, &mut self.messages[done..], buffers) {
                let went = &self.messages[done..done + sent];
                self.sent += went.iter().map(|m| m.count as u64).sum::<u64>();
                done += sent;
            } else {
                self.refused += self.messages[done].count as u64;
                done += 1;
            }
        }
        self.messages.clear();
    }
}

struct Connection {
    fd: OwnedFd,
    peer: Ipv4Addr,
    input: Vec<u8>,
    udp: Option<libc::sockaddr_in>,
    playing: bool,
    unsent: Vec<u8>,
}

struct Server {
    epoll: Epoll,
    connections: BTreeMap<u64, Connection>,
    /// Destinations of the UDP readers, made when one comes or goes: no look at every connection
    /// for every frame.
    udp: Vec<libc::sockaddr_in>,
    sdp: String,
    port: u16,
    dropped: u64,
    writes: u64,
}

impl Server {
    fn response(&mut self, id: u64, message: &Message<'_>) -> String {
        let cseq = message.header("CSeq").unwrap_or("0");
        let mut words = message.head.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let head = format!("RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n");
        let session = format!("Session: {id:08x};timeout=60\r\n");
        let Some(connection) = self.connections.get_mut(&id) else {
            return String::new();
        };
        match method {
            "DESCRIBE" => format!(
                "{head}Content-Base: {target}/\r\nContent-Type: application/sdp\r\n\
                 Content-Length: {}\r\n\r\n{}",
                self.sdp.len(),
                self.sdp
            ),
            "SETUP" => {
                let transport = message.header("Transport").unwrap_or("");
                if let Some((port, _)) = rtsp::pair(transport, "client_port") {
                    let to = SocketAddrV4::new(connection.peer, port);
                    connection.udp = Some(sys::sockaddr(to));
                }
                let port = self.port;
                format!(
                    "{head}{session}Transport: {transport};server_port={port}-{}\r\n\r\n",
                    port + 1
                )
            }
            "PLAY" => {
                connection.playing = true;
                format!("{head}{session}\r\n")
            }
            "TEARDOWN" => {
                connection.playing = false;
                format!("{head}\r\n")
            }
            _ => format!("{head}Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n"),
        }
    }

    fn accept(&mut self, listener: &std::net::TcpListener, next: &mut u64) {
        while let Ok((stream, peer)) = listener.accept() {
            let std::net::IpAddr::V4(peer) = peer.ip() else {
                continue;
            };
            let ready = stream.set_nonblocking(true).and(stream.set_nodelay(true));
            if ready.is_err() || self.epoll.add(&stream, *next).is_err() {
                continue;
            }
            let connection = Connection {
                fd: stream.into(),
                peer,
                input: Vec::new(),
                udp: None,
                playing: false,
                unsent: Vec::new(),
            };
            self.connections.insert(*next, connection);
            *next += 1;
        }
    }

    fn read(&mut self, id: u64) {
        let mut buffer = [0u8; 4096];
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match sys::read(&connection.fd, &mut buffer) {
            Ok(None) => return,
            Ok(Some(got)) if got > 0 => connection.input.extend(&buffer[..got]),
            _ => {
                self.connections.remove(&id);
                self.list_udp();
                return;
            }
        }
        let mut input = std::mem::take(&mut connection.input);
        while let Some(message) = Message::parse(&input) {
            let response = self.response(id, &message);
            input.drain(..message.length);
            if let Some(connection) = self.connections.get_mut(&id) {
                // Behind media that has not gone yet, never inside a packet.
                if connection.unsent.is_empty() {
                    let _ = sys::write(&connection.fd, response.as_bytes());
                } else {
                    connection.unsent.extend(response.as_bytes());
                }
            }
        }
        let mut changed = false;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.input = input;
            changed = connection.udp.is_some();
        }
        if changed {
            self.list_udp();
        }
    }

    fn list_udp(&mut self) {
        let playing = self.connections.values().filter(|c| c.playing);
        self.udp = playing.filter_map(|c| c.udp).collect();
    }

    /// One write a connection.
    fn write_all(&mut self, data: &[u8]) {
        let (mut writes, mut dropped) = (0, 0);
        for connection in self.connections.values_mut() {
            if !connection.playing || connection.udp.is_some() {
                continue;
            }
            if !connection.unsent.is_empty() {
                if let Ok(Some(went)) = sys::write(&connection.fd, &connection.unsent) {
                    connection.unsent.drain(..went);
                }
                if !connection.unsent.is_empty() {
                    dropped += 1;
                    continue;
                }
            }
            writes += 1;
            match sys::write(&connection.fd, data) {
                Ok(went) => {
                    let went = went.unwrap_or(0);
                    connection.unsent.extend(&data[went..]);
                }
                Err(_) => connection.playing = false,
            }
        }
        self.writes += writes;
        self.dropped += dropped;
    }
}

/// Runs the sub-command until it is ended by a signal or `--seconds` are over.
pub fn run(args: &Args) -> Result<(), String> {
    let rtsp_port: u16 = args.number("rtsp-port", 8654)?;
    let rtp_port: u16 = args.number("rtp-port", 8100)?;
    let interval_us = args.number::<u64>("interval-ms", 0)? * 1000;
    let seconds: u64 = args.number("seconds", 3600)?;
    let audio = args.text("kind", "video") == "audio";
    let mode = Mode::parse(args.text("mode", "segment"))?;
    sys::need_files(args.number("files", 12_000)?)?;
    let error = |e: std::io::Error| e.to_string();
    let ingest =
        sys::udp_bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, rtp_port), BUFFER).map_err(error)?;
    let output =
        sys::udp_bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, rtp_port + 2), 4096).map_err(error)?;
    let _ = sys::set_option(&output, libc::SOL_SOCKET, libc::SO_SNDBUF, BUFFER);
    let listener = std::net::TcpListener::bind(("127.0.0.1", rtsp_port)).map_err(error)?;
    listener.set_nonblocking(true).map_err(error)?;
    let shape = Shape {
        audio,
        bitrate: 0,
        fps: 1,
        idr_factor: 1,
        packets_per_frame: 0,
        numbered: false,
    };
    let mut server = Server {
        epoll: Epoll::new().map_err(error)?,
        connections: BTreeMap::new(),
        udp: Vec::new(),
        sdp: Source::new(shape, Vec::new()).sdp(),
        port: rtp_port + 2,
        dropped: 0,
        writes: 0,
    };
    server.epoll.add(&listener, LISTENER).map_err(error)?;
    server.epoll.add(&ingest, INGEST).map_err(error)?;
    let mut next = FIRST_CONNECTION;
    let mut receiver = Receiver::new(64, sys::WHOLE);
    let mut fan = Fan::new(mode);
    let (mut burst, mut joined, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
    json::event("listening");
    let end = sys::now_us() + seconds * 1_000_000;
    let mut flush_us = sys::now_us() + interval_us;
    while sys::now_us() < end {
        server.epoll.wait(10, &mut tokens);
        for &token in &tokens {
            match token {
                LISTENER => server.accept(&listener, &mut next),
                INGEST => {
                    let count = receiver.receive(ingest.as_raw_fd());
                    for i in 0..count {
                        let packet = receiver.get(i).head;
                        if packet.len() < RTP_HEADER {
                            continue;
                        }
                        burst.push(packet.to_vec());
                        joined.extend([b'$', 0]);
                        joined.extend((packet.len() as u16).to_be_bytes());
                        joined.extend(packet);
                        // A frame goes out when it is complete; audio packets are frames.
                        if audio || packet[1] & 0x80 != 0 {
                            fan.burst(&output, &burst, server.udp.iter().copied());
                            burst.clear();
                            if interval_us == 0 {
                                server.write_all(&joined);
                                joined.clear();
                            }
                        }
                    }
                }
                id => server.read(id),
            }
        }
        let now = sys::now_us();
        if interval_us > 0 && now >= flush_us {
            flush_us += interval_us;
            server.write_all(&joined);
            joined.clear();
        }
    }
    Object::new()
        .int("sent", fan.sent)
        .int("refused", fan.refused)
        .int("writes", server.writes)
        .int("dropped", server.dropped)
        .int("cpu_us", sys::cpu_us())
        .print();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_equal_sizes_with_a_shorter_end() {
        assert_eq!(
            runs(&[23, 4, 1200, 1200, 300, 1200]),
            [(0, 2), (2, 3), (5, 1)]
        );
        assert_eq!(runs(&[300, 1200]), [(0, 1), (1, 1)]);
        assert_eq!(runs(&[1200; 60]), [(0, 50), (50, 10)]);
        assert!(runs(&[]).is_empty());
    }
}
