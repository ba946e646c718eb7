//! Packets on a TCP connection, each behind its length in two bytes (RFC 4571 §2), as ICE over TCP
//! wants them (RFC 6544 §3) and links between units have them.

/// Longest packet taken: DTLS handshakes and RTP stay below a path's MTU, so a longer one is a
/// mistake or an attack, and waiting for 64 KB of it would cost memory for nothing.
pub const MAX_FRAME: usize = 4096;

/// A length that no peer of ours sends. The connection cannot be used any more, because where the
/// next packet begins is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong(pub usize);

/// Takes packets out of a stream of bytes. Holds at most one unfinished packet.
#[derive(Debug, Default)]
pub struct Deframer {
    pending: Vec<u8>,
    broken: Option<TooLong>,
}

impl Deframer {
    /// Takes bytes as they came and hands over each packet they complete. Empty packets, which
    /// some peers send as a keepalive, are left out. After an error nothing is taken any more.
    pub fn push(&mut self, mut data: &[u8], mut packet: impl FnMut(&[u8])) -> Result<(), TooLong> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        while !data.is_empty() {
            if self.pending.is_empty()
                && let Some(length) = length(data)
                && length <= MAX_FRAME
                && data.len() >= 2 + length
            {
                // Whole in what came: no copy.
                if length > 0 {
                    packet(&data[2..2 + length]);
                }
                data = &data[2 + length..];
                continue;
            }
            let wanted = match length(&self.pending) {
                Some(length) => 2 + length - self.pending.len(),
                None => 2 - self.pending.len(),
            };
            let taken = wanted.min(data.len());
            self.pending.extend_from_slice(&data[..taken]);
            data = &data[taken..];
            if let Some(length) = length(&self.pending) {
                if length > MAX_FRAME {
                    self.pending = Vec::new();
                    let error = TooLong(length);
                    self.broken = Some(error);
                    return Err(error);
                }
                if self.pending.len() == 2 + length {
                    if length > 0 {
                        packet(&self.pending[2..]);
                    }
                    self.pending.clear();
                }
            }
        }
        Ok(())
    }

    /// Bytes held.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}

fn length(data: &[u8]) -> Option<usize> {
    let field = data.get(..2)?;
    Some(usize::from(u16::from_be_bytes([field[0], field[1]])))
}

/// Puts a packet behind its length. Longer ones than a length can name are left out: `false`.
pub fn frame(packet: &[u8], out: &mut Vec<u8>) -> bool {
    let Ok(length) = u16::try_from(packet.len()) else {
        return false;
    };
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(packet);
    true
}
