//! The framing of WebSocket (RFC 6455 §5), server side, after the handshake.

/// Opcodes the plane speaks.
pub const TEXT: u8 = 1;
/// A media frame.
pub const BINARY: u8 = 2;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Appends the header of an unfragmented, unmasked frame.
pub fn header(out: &mut Vec<u8>, opcode: u8, length: usize) {
    out.push(0x80 | opcode);
    if length < 126 {
        out.push(length as u8);
    } else if let Ok(short) = u16::try_from(length) {
        out.push(126);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

/// What a peer's bytes amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// A whole text message.
    Text(Vec<u8>),
    /// To be answered with the same bytes.
    Ping(Vec<u8>),
    /// The peer closes; the status it gave, if any.
    Close,
}

/// The peer broke the protocol, or sent more than is allowed.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

/// Takes frames apart.
#[derive(Debug, Default)]
pub struct Parser {
    partial: Vec<u8>,
    within: bool,
}

impl Parser {
    /// The next message in `buffer`, and how many bytes it took; `None` when more must come.
    pub fn next(
        &mut self,
        buffer: &[u8],
        max_message: usize,
    ) -> Result<Option<(usize, Option<Message>)>, Broken> {
        if buffer.len() < 2 {
            return Ok(None);
        }
        let (first, second) = (buffer[0], buffer[1]);
        // Reserved bits mean extensions, and none was agreed; a client must mask (§5.1).
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(Broken);
        }
        let (length, at) = match second & 0x7f {
            126 => match buffer.get(2..4) {
                Some(field) => (u64::from(u16::from_be_bytes([field[0], field[1]])), 4),
                None => return Ok(None),
            },
            127 => match buffer.get(2..10).map(TryInto::try_into) {
                Some(Ok(field)) => (u64::from_be_bytes(field), 10),
                _ => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        let opcode = first & 0x0f;
        let last = first & 0x80 != 0;
        let control = opcode >= CLOSE;
        if length > max_message as u64 || (control && (length > 125 || !last)) {
            return Err(Broken);
        }
        let total = at + 4 + length as usize;
        if buffer.len() < total {
            return Ok(None);
        }
        let mask = &buffer[at..at + 4];
        let payload = buffer[at + 4..total]
            .iter()
            .enumerate()
            .map(|(n, byte)| byte ^ mask[n % 4]);
        let message = match opcode {
            PING => Some(Message::Ping(payload.collect())),
            PONG => None,
            CLOSE => Some(Message::Close),
            TEXT | BINARY | CONTINUATION => {
                if (opcode == CONTINUATION) != self.within {
                    return Err(Broken);
                }
                if self.partial.len() + length as usize > max_message {
                    return Err(Broken);
                }
                self.partial.extend(payload);
                self.within = !last;
                last.then(|| Message::Text(std::mem::take(&mut self.partial)))
            }
            _ => return Err(Broken),
        };
        Ok(Some((total, message)))
    }
}

/// Appends the answer to a ping.
pub fn pong(out: &mut Vec<u8>, data: &[u8]) {
    header(out, PONG, data.len());
    out.extend_from_slice(data);
}

/// Appends a close frame with a status code.
pub fn close(out: &mut Vec<u8>, status: u16) {
    header(out, CLOSE, 2);
    out.extend_from_slice(&status.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first, 0x80 | payload.len() as u8, 1, 2, 3, 4];
        out.extend(
            payload
                .iter()
                .enumerate()
                .map(|(n, byte)| byte ^ [1, 2, 3, 4][n % 4]),
        );
        out
    }

    #[test]
    fn joins_fragments_with_a_ping_between() {
        let mut parser = Parser::default();
        let mut bytes = masked(TEXT, b"hel");
        bytes.extend(masked(0x80 | PING, b"?"));
        bytes.extend(masked(0x80, b"lo"));
        let mut messages = Vec::new();
        while let Some((used, message)) = parser.next(&bytes, 100).unwrap() {
            messages.extend(message);
            bytes.drain(..used);
        }
        assert_eq!(
            messages,
            [
                Message::Ping(b"?".to_vec()),
                Message::Text(b"hello".to_vec())
            ]
        );
    }

    #[test]
    fn refuses_what_a_client_must_not_send() {
        let mut parser = Parser::default();
        assert_eq!(parser.next(&[0x81, 1, b'x'], 100), Err(Broken), "unmasked");
        assert_eq!(
            parser.next(&masked(0xc1, b"x"), 100),
            Err(Broken),
            "reserved bit"
        );
        assert_eq!(
            parser.next(&masked(0x80, b"x"), 100),
            Err(Broken),
            "nothing to continue"
        );
        assert_eq!(
            parser.next(&masked(0x81, &[b'x'; 101]), 100),
            Err(Broken),
            "too long"
        );
        let huge = [0x81, 0xff, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            parser.next(&huge, 100),
            Err(Broken),
            "refused before it is waited for"
        );
    }

    proptest! {
        #[test]
        fn never_panics(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut parser = Parser::default();
            let mut rest = &data[..];
            while let Ok(Some((used, _))) = parser.next(rest, 64) {
                prop_assert!(used > 0 && used <= rest.len());
                rest = &rest[used..];
            }
        }
    }
}
