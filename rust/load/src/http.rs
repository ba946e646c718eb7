//! HTTP requests on one kept connection (RFC 9112): offers in, answers out.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

use crate::rtsp::{self, Message};
use crate::sys;

/// An answer takes milliseconds; a server under load a second.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A URL like `http://host:port/path`.
#[derive(Clone, Debug)]
pub struct HttpUrl {
    /// Address of the server.
    pub address: SocketAddrV4,
    /// What is asked for there.
    pub path: String,
}

impl HttpUrl {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = rtsp::Url::parse(text)?;
        if url.scheme != "http" {
            return Err(format!("not an http address: {text:?}"));
        }
        let path = text.splitn(4, '/').nth(3).unwrap_or("");
        Ok(Self {
            address: url.address,
            path: format!("/{path}"),
        })
    }
}

/// A connection.
pub struct Http {
    stream: TcpStream,
    host: SocketAddrV4,
}

impl Http {
    /// Connects, from a source address if one is given.
    pub fn connect(to: SocketAddrV4, from: Option<Ipv4Addr>) -> Result<Self, String> {
        let connected = || -> std::io::Result<TcpStream> {
            let stream = TcpStream::from(sys::tcp_connect(to, from, None)?);
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            Ok(stream)
        };
        let stream = connected().map_err(|e| format!("{to}: {e}"))?;
        Ok(Self { stream, host: to })
    }

    /// Sends an offer; gives the answer.
    pub fn offer(&mut self, path: &str, key: &str, offer: &str) -> Result<String, String> {
        let mut text = format!("POST {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        if !key.is_empty() {
            let _ = write!(text, "Authorization: Bearer {key}\r\n");
        }
        let _ = write!(
            text,
            "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{offer}",
            offer.len()
        );
        let failed = |e: std::io::Error| format!("offer: {e}");
        self.stream.write_all(text.as_bytes()).map_err(failed)?;
        let (mut data, mut buffer) = (Vec::new(), [0u8; 4096]);
        loop {
            if let Some(message) = Message::parse(&data) {
                return match message.status() {
                    Some(201) => Ok(message.body.to_owned()),
                    status => Err(format!("offer: status {}", status.unwrap_or(0))),
                };
            }
            let got = self.stream.read(&mut buffer).map_err(failed)?;
            if got == 0 || data.len() > rtsp::MAX_MESSAGE {
                return Err("offer: connection closed".to_owned());
            }
            data.extend(&buffer[..got]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = HttpUrl::parse("http://127.0.0.1:9080/whep/bench?key=x").unwrap();
        assert_eq!(url.address.port(), 9080);
        assert_eq!(url.path, "/whep/bench?key=x");
        assert!(HttpUrl::parse("rtsp://127.0.0.1:1/x").is_err());
    }

    #[test]
    fn an_offer_is_answered_and_a_refusal_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for status in ["201 Created", "409 Conflict"] {
                let mut got = vec![0; 4096];
                let n = stream.read(&mut got).unwrap();
                assert!(got[..n].starts_with(b"POST /whip/x HTTP/1.1\r\n"));
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nv=0");
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let mut http = Http::connect(to, None).unwrap();
        assert_eq!(http.offer("/whip/x", "key", "v=0").unwrap(), "v=0");
        let refused = http.offer("/whip/x", "key", "v=0").unwrap_err();
        assert!(refused.contains("409"), "{refused}");
        server.join().unwrap();
    }
}
