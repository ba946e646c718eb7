//! Just enough RTSP text (RFC 2326) for a client and for the bare loop's server.

use std::net::{Ipv4Addr, SocketAddrV4, ToSocketAddrs};

/// Largest message accepted: an SDP of a few tracks is below 2 KB.
pub const MAX_MESSAGE: usize = 16 * 1024;

/// An address like `rtsp://user:pass@host:port/name` or `udp://host:port`.
#[derive(Clone, Debug)]
pub struct Url {
    /// `rtsp` or `udp`.
    pub scheme: String,
    /// `user:pass`, if given.
    pub credentials: Option<String>,
    /// Resolved address.
    pub address: SocketAddrV4,
    /// The address without credentials, as it is written in requests.
    pub plain: String,
}

impl Url {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("not an address: {text:?}");
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, host) = match authority.rsplit_once('@') {
            Some((credentials, host)) => (Some(credentials.to_owned()), host),
            None => (None, authority),
        };
        let host = if host.contains(':') {
            host.to_owned()
        } else {
            format!("{host}:554")
        };
        let address = host
            .to_socket_addrs()
            .map_err(|error| format!("{host}: {error}"))?
            .find_map(|address| match address {
                std::net::SocketAddr::V4(v4) => Some(v4),
                std::net::SocketAddr::V6(_) => None,
            })
            .ok_or_else(wrong)?;
        Ok(Self {
            scheme: scheme.to_owned(),
            credentials,
            address,
            plain: format!("{scheme}://{host}/{path}"),
        })
    }
}

/// A whole message at the start of a buffer.
pub struct Message<'a> {
    /// Start line and headers.
    pub head: &'a str,
    /// Body.
    pub body: &'a str,
    /// Bytes of both.
    pub length: usize,
}

impl<'a> Message<'a> {
    /// The message at the start of `data`, if it is complete.
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let end = data.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&data[..end]).ok()?;
        let body = header(head, "Content-Length")
            .and_then(|length| length.parse::<usize>().ok())
            .unwrap_or(0);
        if data.len() < end + body {
            return None;
        }
        Some(Self {
            head,
            body: std::str::from_utf8(&data[end..end + body]).unwrap_or(""),
            length: end + body,
        })
    }

    /// Status of a response.
    pub fn status(&self) -> Option<u16> {
        self.head.split(' ').nth(1)?.parse().ok()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        header(self.head, name)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The two numbers of a transport parameter such as `client_port=5000-5001`.
pub fn pair(transport: &str, name: &str) -> Option<(u16, u16)> {
    transport.split(';').find_map(|part| {
        let value = part.trim().strip_prefix(name)?.strip_prefix('=')?;
        let (first, second) = value.split_once('-').unwrap_or((value, ""));
        let first: u16 = first.parse().ok()?;
        Some((first, second.parse().unwrap_or(first.wrapping_add(1))))
    })
}

/// Control addresses of an SDP's tracks (RFC 2326 C.1.1) and whether each is audio.
pub fn tracks(sdp: &str, base: &str) -> Vec<(String, bool)> {
    let mut tracks = Vec::new();
    for line in sdp.lines() {
        if line.starts_with("m=") {
            tracks.push((base.to_owned(), line.starts_with("m=audio")));
        } else if let (Some(control), Some(track)) =
            (line.strip_prefix("a=control:"), tracks.last_mut())
        {
            track.0 = if control.contains("://") {
                control.to_owned()
            } else {
                format!("{}/{control}", base.trim_end_matches('/'))
            };
        }
    }
    tracks
}

/// Clock rates of an SDP's tracks; 90 000 where nothing is said of it (RFC 4566 6).
pub fn clocks(sdp: &str) -> Vec<u32> {
    let mut clocks = Vec::new();
    for line in sdp.lines() {
        if line.starts_with("m=") {
            clocks.push(90_000);
        } else if let (Some(map), Some(clock)) = (line.strip_prefix("a=rtpmap:"), clocks.last_mut())
            && let Some(rate) = map
                .split('/')
                .nth(1)
                .and_then(|word| word.trim().parse().ok())
        {
            *clock = rate;
        }
    }
    clocks
}

/// Base 64 (RFC 4648 4).
pub fn base64(data: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in data.chunks(3) {
        let mut group = [0u8; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for i in 0..4 {
            if i <= chunk.len() {
                text.push(DIGITS[(bits >> (18 - 6 * i)) as usize & 63] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// The loopback source address of a reader: address `index` of `count` in 127.0.0.0/24.
pub fn source_address(index: usize, count: usize) -> Option<Ipv4Addr> {
    (count > 1).then(|| Ipv4Addr::new(127, 0, 0, (index % count.min(250)) as u8 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let url = Url::parse("rtsp://any:key@127.0.0.1:8554/demo").unwrap();
        assert_eq!(url.credentials.as_deref(), Some("any:key"));
        assert_eq!(url.plain, "rtsp://127.0.0.1:8554/demo");
        assert_eq!(url.address.port(), 8554);
        assert!(Url::parse("demo").is_err());
    }

    #[test]
    fn messages_wait_for_their_body() {
        let text = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\ncontent-length: 3\r\n\r\nabcREST";
        assert!(Message::parse(&text[..text.len() - 5]).is_none());
        let message = Message::parse(text).unwrap();
        assert_eq!((message.status(), message.body), (Some(200), "abc"));
        assert_eq!(message.length, text.len() - 4);
        assert_eq!(message.header("cseq"), Some("1"));
    }

    #[test]
    fn tracks_and_ports() {
        let sdp = "v=0\r\nm=video 0 RTP/AVP 96\r\na=control:stream=0\r\nm=audio 0 RTP/AVP 97\r\n\
                   a=rtpmap:97 OPUS/48000/2\r\na=control:rtsp://h/x/1\r\n";
        assert_eq!(clocks(sdp), [90_000, 48_000]);
        let found = tracks(sdp, "rtsp://h/x/");
        assert_eq!(found[0], ("rtsp://h/x/stream=0".to_owned(), false));
        assert_eq!(found[1], ("rtsp://h/x/1".to_owned(), true));
        assert_eq!(
            pair("RTP/AVP;server_port=8000-8001", "server_port"),
            Some((8000, 8001))
        );
        assert_eq!(base64(b"any:k"), "YW55Oms=");
    }
}
