//! `publish`: sends a stream to a server, by RTSP RECORD or as plain RTP.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::args::Args;
use crate::json::{self, Object};
use crate::media::{self, Shape, Source};
use crate::rtsp::{self, Url};
use crate::sentlog::SentLog;
use crate::sys;

/// Keepalive period: the usual session time-out is 60 s (RFC 2326 12.37).
const KEEPALIVE_US: u64 = 20_000_000;
/// Seconds between 1900 and 1970, for NTP time (RFC 3550 4).
const NTP_EPOCH: u64 = 2_208_988_800;
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Two publishers that take turns, by the machine's clock, so that what is fed by them is measured at
/// the same time and never at once.
struct Turns {
    /// Length of a turn, µs; 0: no turns.
    length_us: u64,
    /// 0 or 1.
    ours: u64,
}

impl Turns {
    fn ours_at(&self, at_us: u64) -> bool {
        self.length_us == 0 || at_us / self.length_us % 2 == self.ours
    }
}

enum Path {
    Plain(UdpSocket, libc::sockaddr_in),
    Udp(UdpSocket, libc::sockaddr_in, UdpSocket, SocketAddr),
    Tcp,
}

struct Client {
    stream: TcpStream,
    url: Url,
    cseq: u32,
    session: String,
}

impl Client {
    fn connect(url: &Url) -> Result<Self, String> {
        let stream = TcpStream::connect(url.address).map_err(|e| format!("{}: {e}", url.plain))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        stream
            .set_read_timeout(Some(RESPONSE_TIMEOUT))
            .map_err(|e| e.to_string())?;
        Ok(Self {
            stream,
            url: url.clone(),
            cseq: 0,
            session: String::new(),
        })
    }

    fn text(&mut self, method: &str, target: &str, extra: &str, body: &str) -> String {
        self.cseq += 1;
        let mut text = format!(
            "{method} {target} RTSP/1.0\r\nCSeq: {}\r\n{extra}",
            self.cseq
        );
        if !self.session.is_empty() {
            let _ = write!(text, "Session: {}\r\n", self.session);
        }
        if let Some(credentials) = &self.url.credentials {
            let encoded = rtsp::base64(credentials.as_bytes());
            let _ = write!(text, "Authorization: Basic {encoded}\r\n");
        }
        if !body.is_empty() {
            text += "Content-Type: application/sdp\r\n";
            let _ = write!(text, "Content-Length: {}\r\n", body.len());
        }
        text + "\r\n" + body
    }

    /// Sends a request, waits for its response, returns the response's Transport header.
    fn request(
        &mut self,
        method: &str,
        target: &str,
        extra: &str,
        body: &str,
    ) -> Result<String, String> {
        let text = self.text(method, target, extra, body);
        self.stream
            .write_all(text.as_bytes())
            .map_err(|e| format!("{method}: {e}"))?;
        let mut data = Vec::new();
        let mut buffer = [0u8; 4096];
        loop {
            if let Some(message) = rtsp::Message::parse(&data) {
                if message.status() != Some(200) {
                    let line = message.head.lines().next().unwrap_or("");
                    return Err(format!("{method}: {line}"));
                }
                if let Some(session) = message.header("Session") {
                    session
                        .split(';')
                        .next()
                        .unwrap_or("")
                        .clone_into(&mut self.session);
                }
                return Ok(message.header("Transport").unwrap_or("").to_owned());
            }
            let got = self
                .stream
                .read(&mut buffer)
                .map_err(|e| format!("{method}: {e}"))?;
            if got == 0 || data.len() > rtsp::MAX_MESSAGE {
                return Err(format!("{method}: connection closed"));
            }
            data.extend(&buffer[..got]);
        }
    }

    fn record(&mut self, sdp: &str, tcp: bool) -> Result<Path, String> {
        let target = self.url.plain.clone();
        self.request("OPTIONS", &target, "", "")?;
        self.request("ANNOUNCE", &target, "", sdp)?;
        let track = format!("{}/trackID=0", target.trim_end_matches('/'));
        let path = if tcp {
            let extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record\r\n";
            self.request("SETUP", &track, extra, "")?;
            Path::Tcp
        } else {
            let (rtp, rtcp) = udp_pair()?;
            let port = rtp.local_addr().map_err(|e| e.to_string())?.port();
            let extra = format!(
                "Transport: RTP/AVP;unicast;client_port={port}-{};mode=record\r\n",
                port + 1
            );
            let transport = self.request("SETUP", &track, &extra, "")?;
            let (first, second) =
                rtsp::pair(&transport, "server_port").ok_or("SETUP: no server_port")?;
            let ip = *self.url.address.ip();
            let to = sys::sockaddr(SocketAddrV4::new(ip, first));
            Path::Udp(rtp, to, rtcp, SocketAddrV4::new(ip, second).into())
        };
        self.request("RECORD", &target, "Range: npt=0.000-\r\n", "")?;
        Ok(path)
    }
}

fn udp_pair() -> Result<(UdpSocket, UdpSocket), String> {
    for port in (6000..10_000).step_by(2) {
        if let (Ok(rtp), Ok(rtcp)) = (
            UdpSocket::bind(("127.0.0.1", port)),
            UdpSocket::bind(("127.0.0.1", port + 1)),
        ) {
            return Ok((rtp, rtcp));
        }
    }
    Err("no free pair of UDP ports".to_owned())
}

/// A sender report (RFC 3550 6.4.1) that maps the stream's clock to wall-clock time.
fn sender_report(source: &Source, packets: u64, bytes: u64) -> Vec<u8> {
    let wall_us = (sys::now_us() as i64 + sys::realtime_offset_us()) as u64;
    let mut report = vec![0x80, 200, 0, 6];
    report.extend(source.ssrc().to_be_bytes());
    report.extend(((wall_us / 1_000_000 + NTP_EPOCH) as u32).to_be_bytes());
    report.extend((((wall_us % 1_000_000) << 32) / 1_000_000).to_be_bytes()[4..].iter());
    report.extend(source.timestamp().to_be_bytes());
    report.extend((packets as u32).to_be_bytes());
    report.extend((bytes as u32).to_be_bytes());
    report
}

fn interleaved(to: &mut Vec<u8>, channel: u8, packet: &[u8]) {
    to.extend([b'$', channel]);
    to.extend((packet.len() as u16).to_be_bytes());
    to.extend(packet);
}

/// Reads what is to be published.
pub fn shape(args: &Args) -> Result<Shape, String> {
    let audio = match args.text("kind", "video") {
        "audio" => true,
        "video" => false,
        other => return Err(format!("--kind {other}: video or audio")),
    };
    let shape = Shape {
        audio,
        bitrate: args.number("bitrate", if audio { 26_000 } else { 2_000_000 })?,
        fps: args.number("fps", if audio { 50 } else { 30 })?,
        idr_factor: args.number("idr-factor", 4)?,
        packets_per_frame: args.number("packets-per-frame", 0)?,
        numbered: !args.text("log", "").is_empty(),
    };
    if shape.fps == 0 || shape.idr_factor == 0 {
        return Err("--fps and --idr-factor start at 1".to_owned());
    }
    Ok(shape)
}

/// Runs the sub-command.
pub fn run(args: &Args) -> Result<(), String> {
    let url = Url::parse(args.required("url")?)?;
    let shape = shape(args)?;
    let units = match args.text("file", "pattern") {
        "pattern" => Vec::new(),
        path => media::access_units(&std::fs::read(path).map_err(|e| format!("{path}: {e}"))?),
    };
    let seconds: u64 = args.number("seconds", 3600)?;
    let turns = Turns {
        length_us: args.number::<u64>("turn-ms", 0)? * 1_000,
        ours: args.number("turn", 0)?,
    };
    let log = match args.text("log", "") {
        "" => None,
        path => Some(SentLog::create(path)?),
    };
    let mut source = Source::new(shape, units);
    let mut client = None;
    let path = if url.scheme == "udp" {
        let socket = UdpSocket::bind("0.0.0.0:0").map_err(|e| e.to_string())?;
        Path::Plain(socket, sys::sockaddr(url.address))
    } else {
        let mut connected = Client::connect(&url)?;
        let path = connected.record(&source.sdp(), args.text("transport", "tcp") == "tcp")?;
        client = Some(connected);
        path
    };
    json::event("publishing");
    let start = sys::now_us();
    let mut sender = sys::Sender::new(64);
    let (mut packets, mut bytes, mut late_us, mut blocked) = (0u64, 0u64, 0u64, 0u64);
    let mut sent = 0u64;
    let mut keepalive = start + KEEPALIVE_US;
    let mut buffer = Vec::new();
    let mut rest = [0u8; 4096];
    for frame in 0..seconds * shape.fps {
        let due = start + frame * 1_000_000 / shape.fps;
        if !turns.ours_at(due) {
            continue;
        }
        sys::sleep_until(due);
        let now = sys::now_us();
        late_us = late_us.max(now - due);
        let report = sent
            .is_multiple_of(shape.fps)
            .then(|| sender_report(&source, packets, bytes));
        source.next_frame(now);
        if let Some(log) = &log {
            log.note(sent, now)?;
        }
        sent += 1;
        packets += source.packets.len() as u64;
        bytes += source.packets.iter().map(Vec::len).sum::<usize>() as u64;
        match &path {
            Path::Plain(socket, to) => blocked += send(&mut sender, socket, *to, &source.packets),
            Path::Udp(socket, to, rtcp, rtcp_to) => {
                blocked += send(&mut sender, socket, *to, &source.packets);
                if let Some(report) = &report {
                    let _ = rtcp.send_to(report, rtcp_to);
                }
            }
            Path::Tcp => {
                buffer.clear();
                if let Some(report) = &report {
                    interleaved(&mut buffer, 1, report);
                }
                for packet in &source.packets {
                    interleaved(&mut buffer, 0, packet);
                }
                if let Some(client) = &mut client {
                    let sent = client.stream.write_all(&buffer);
                    sent.map_err(|e| format!("server closed: {e}"))?;
                }
            }
        }
        if let Some(client) = &mut client {
            // Responses and receiver reports are not looked at, only taken away.
            let taken = discard(&client.stream, &mut rest);
            taken.map_err(|e| format!("server closed: {e}"))?;
            if now > keepalive {
                keepalive = now + KEEPALIVE_US;
                let target = client.url.plain.clone();
                let text = client.text("OPTIONS", &target, "", "");
                let sent = client.stream.write_all(text.as_bytes());
                sent.map_err(|e| format!("server closed: {e}"))?;
            }
        }
    }
    Object::new()
        .int("packets", packets)
        .int("bytes", bytes)
        .int("unsent", blocked)
        .int("late_max_us", late_us)
        .print();
    Ok(())
}

/// Takes what the server sent, without waiting.
fn discard(stream: &TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    while let Some(got) = sys::read(stream, buffer)? {
        if got == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if got < buffer.len() {
            break;
        }
    }
    Ok(())
}

/// Sends the packets of a frame in one go; returns how many could not be sent.
fn send(
    sender: &mut sys::Sender,
    socket: &impl AsRawFd,
    to: libc::sockaddr_in,
    packets: &[Vec<u8>],
) -> u64 {
    let buffers: Vec<libc::iovec> = packets.iter().map(|p| sys::iovec(p)).collect();
    let mut messages: Vec<sys::Message> = (0..packets.len())
        .map(|first| sys::Message {
            to,
            first,
            count: 1,
            segment: 0,
        })
        .collect();
    let mut done = 0;
    while done < messages.len() {
        match sender.send(socket, &mut messages[done..], &buffers) {
            Ok(sent) if sent > 0 => done += sent,
            _ => return (messages.len() - done) as u64,
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_take_turns_and_one_alone_has_all_of_them() {
        let turns = |length_us, ours| Turns { length_us, ours };
        for at in (0..10_000_000).step_by(33_333) {
            assert_ne!(turns(250_000, 0).ours_at(at), turns(250_000, 1).ours_at(at));
            assert!(turns(0, 1).ours_at(at));
        }
        assert!(turns(250_000, 1).ours_at(250_000));
    }
}
