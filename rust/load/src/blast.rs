//! `udp-blast`, `sink` and `tcp-idle`: the machine's own limits, and silent peers.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use crate::args::Args;
use crate::floor::{Fan, Mode};
use crate::json::{self, Object};
use crate::media::PACKET;
use crate::rtsp::{self, Url};
use crate::sys::{self, Epoll, Receiver};

/// First port of the sinks, below the ephemeral range.
const FIRST_PORT: u16 = 20_000;

fn loopback(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

/// Sends bursts to `--dests` ports as fast as one core can.
pub fn blast(args: &Args) -> Result<(), String> {
    let dests: u16 = args.number("dests", 1000)?;
    let burst: usize = args.number("burst", 8)?;
    let seconds: u64 = args.number("seconds", 5)?;
    let first: u16 = args.number("first-port", FIRST_PORT)?;
    let mode = Mode::parse(args.text("mode", "segment"))?;
    let socket = sys::udp_bind(loopback(0), 4096).map_err(|e| e.to_string())?;
    let packets = vec![vec![0x55; PACKET]; burst];
    let to: Vec<_> = (0..dests)
        .map(|i| sys::sockaddr(loopback(first + i)))
        .collect();
    let mut fan = Fan::new(mode);
    let (start, cpu) = (sys::now_us(), sys::cpu_us());
    while sys::now_us() < start + seconds * 1_000_000 {
        fan.burst(&socket, &packets, to.iter().copied());
    }
    let (took, cpu) = (sys::now_us() - start, sys::cpu_us() - cpu);
    Object::new()
        .int("packets", fan.sent)
        .int("refused", fan.refused)
        .float("seconds", took as f64 / 1e6)
        .int("cpu_us", cpu)
        .float("packets_per_second", fan.sent as f64 * 1e6 / took as f64)
        .float("packets_per_cpu_second", fan.sent as f64 * 1e6 / cpu as f64)
        .print();
    Ok(())
}

/// Drains `--count` UDP ports.
pub fn sink(args: &Args) -> Result<(), String> {
    let count: u16 = args.number("count", 1000)?;
    let first: u16 = args.number("first-port", FIRST_PORT)?;
    let seconds: u64 = args.number("seconds", 3600)?;
    sys::need_files(u64::from(count) + 64)?;
    let mut epoll = Epoll::new().map_err(|e| e.to_string())?;
    let mut sockets = Vec::new();
    for i in 0..count {
        let socket = sys::udp_bind(loopback(first + i), 256 * 1024).map_err(|e| e.to_string())?;
        epoll
            .add(&socket, u64::from(i))
            .map_err(|e| e.to_string())?;
        sockets.push(socket);
    }
    json::event("listening");
    let mut receiver = Receiver::new(64, sys::HEAD);
    let (mut packets, mut tokens) = (0, Vec::new());
    let end = sys::now_us() + seconds * 1_000_000;
    while sys::now_us() < end {
        epoll.wait(10, &mut tokens);
        for &token in &tokens {
            packets += receiver.receive(sockets[token as usize].as_raw_fd()) as u64;
        }
    }
    Object::new().int("packets", packets).print();
    Ok(())
}

/// Opens `--count` connections that never say anything.
pub fn idle(args: &Args) -> Result<(), String> {
    let url = Url::parse(args.required("url")?)?;
    let count: usize = args.number("count", 1000)?;
    let seconds: u64 = args.number("seconds", 10)?;
    let sources: usize = args.number("sources", 1)?;
    sys::need_files(count as u64 + 64)?;
    let mut connections = Vec::new();
    let mut refused = 0;
    for i in 0..count {
        match sys::tcp_connect(url.address, rtsp::source_address(i, sources), None) {
            Ok(connection) => connections.push(connection),
            Err(_) => refused += 1,
        }
    }
    json::event("connected");
    let mut open = connections.len();
    let mut buffer = [0u8; 1024];
    let end = sys::now_us() + seconds * 1_000_000;
    while sys::now_us() < end {
        sys::sleep_until((sys::now_us() + 100_000).min(end));
        connections.retain(|fd| !matches!(sys::read(fd, &mut buffer), Ok(Some(0)) | Err(_)));
        open = connections.len();
    }
    Object::new()
        .int("connected", (count - refused) as u64)
        .int("refused", refused as u64)
        .int("open_at_end", open as u64)
        .print();
    Ok(())
}
