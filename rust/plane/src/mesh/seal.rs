//! Sealing datagrams: AEAD with the link's counter as nonce and the header as associated data.
//!
//! Python settles the keys over the bus, new ones for each link and each direction, so that a
//! counter never meets the same key twice. A repair sends the sealed bytes again as they were.

use super::wire::{Body, HEADER, Header, Kind, Report, TAG};
use aws_lc_rs::aead::{
    AES_128_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};

/// A key's length says which cipher it is for: 16 bytes AES-128-GCM, 32 ChaCha20-Poly1305.
pub struct Key(LessSafeKey);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

impl Key {
    /// `None` for another length.
    pub fn new(key: &[u8]) -> Option<Self> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            32 => &CHACHA20_POLY1305,
            _ => return None,
        };
        Some(Self(LessSafeKey::new(
            UnboundKey::new(algorithm, key).ok()?,
        )))
    }

    /// A whole datagram: the header, and what only the receiver can read.
    pub fn seal(&self, link: u32, counter: u64, body: &Body<'_>) -> Vec<u8> {
        let header = Header {
            kind: body.kind(),
            link,
            counter,
        };
        let head = header.bytes();
        let size = match body {
            Body::Media(_, data) | Body::Part(.., data) | Body::Control(_, data) => data.len(),
            Body::Report(Report { runs, .. }) | Body::Ask(_, runs) => 10 * runs.len(),
            Body::Goodbye | Body::Wish(..) => 0,
        };
        let mut data = Vec::with_capacity(HEADER + 40 + size + TAG);
        data.extend_from_slice(&head);
        body.write(&mut data);
        let sealed =
            self.0
                .seal_in_place_separate_tag(nonce(counter), Aad::from(head), &mut data[HEADER..]);
        match sealed {
            Ok(tag) => data.extend_from_slice(tag.as_ref()),
            // Too long for the cipher, which is gigabytes: what is sent opens nowhere.
            Err(_too_long) => data.truncate(HEADER),
        }
        data
    }

    /// What was sealed, deciphered into `room`; `None` when it was not sealed by the peer.
    pub fn open<'a>(
        &self,
        header: &Header,
        data: &[u8],
        room: &'a mut Vec<u8>,
    ) -> Option<(Kind, &'a [u8])> {
        let (head, sealed) = data.split_at_checked(HEADER)?;
        room.clear();
        room.extend_from_slice(sealed);
        let nonce = nonce(header.counter);
        let plain = self.0.open_in_place(nonce, Aad::from(head), room).ok()?;
        Some((header.kind, plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(key: &Key) -> (Header, Vec<u8>) {
        let data = key.seal(7, 9, &Body::Control(3, b"words"));
        (Header::parse(&data).unwrap(), data)
    }

    #[test]
    fn opens_with_the_same_key_only() {
        for length in [16, 32] {
            let key = Key::new(&vec![1; length]).unwrap();
            let (header, data) = sealed(&key);
            let mut room = Vec::new();
            let (kind, plain) = key.open(&header, &data, &mut room).unwrap();
            assert_eq!(Body::parse(kind, plain), Ok(Body::Control(3, b"words")));
            let other = Key::new(&vec![2; length]).unwrap();
            assert!(other.open(&header, &data, &mut room).is_none());
        }
        assert!(Key::new(&[0; 24]).is_none());
    }

    #[test]
    fn no_bit_can_be_changed() {
        let key = Key::new(&[1; 16]).unwrap();
        let (_, data) = sealed(&key);
        for bit in 0..data.len() * 8 {
            let mut changed = data.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(header) = Header::parse(&changed) {
                assert!(key.open(&header, &changed, &mut Vec::new()).is_none());
            }
        }
    }
}
