//! SRTP with AES-GCM (RFC 7714): keys from a DTLS handshake, packets and feedback sealed.

use str0m::crypto::dtls::SrtpProfile;
use str0m::crypto::{AeadAes128GcmCipher, AeadAes256GcmCipher, CryptoProvider};

/// Bytes sealing adds to a packet.
pub const TAG: usize = 16;
const SALT: usize = 12;
/// Marks an encrypted RTCP packet (RFC 3711 3.4).
const ENCRYPTED: u32 = 1 << 31;

enum Cipher {
    Short(Box<dyn AeadAes128GcmCipher>),
    Long(Box<dyn AeadAes256GcmCipher>),
}

/// One direction's key for RTP or for RTCP.
pub struct Sealer {
    cipher: Cipher,
    salt: [u8; SALT],
    index: u32,
}

/// What a key is for (RFC 3711 4.3.2).
#[derive(Clone, Copy)]
pub enum Use {
    /// Media packets.
    Rtp = 0,
    /// Reports and feedback.
    Rtcp = 3,
}

/// AES-CM as a generator of keys (RFC 3711 4.3.3).
fn derive(crypto: &CryptoProvider, key: &[u8], salt: &[u8], label: u8, out: &mut [u8]) {
    let mut input = [0u8; 16];
    input[..SALT].copy_from_slice(salt);
    input[7] ^= label;
    for (round, out) in out.chunks_mut(16).enumerate() {
        input[14..].copy_from_slice(&(round as u16).to_be_bytes());
        let mut block = [0u8; 32];
        if key.len() == 16 {
            crypto
                .srtp_provider
                .srtp_aes_128_ecb_round(key, &input, &mut block);
        } else {
            crypto
                .srtp_provider
                .srtp_aes_256_ecb_round(key, &input, &mut block);
        }
        let length = out.len();
        out.copy_from_slice(&block[..length]);
    }
}

/// Bytes of a profile's master key; `None` for those that are not AES-GCM.
pub fn key_length(profile: SrtpProfile) -> Option<usize> {
    match profile {
        SrtpProfile::AEAD_AES_128_GCM => Some(16),
        SrtpProfile::AEAD_AES_256_GCM => Some(32),
        _ => None,
    }
}

impl Sealer {
    /// The client's key from what a handshake gave (RFC 5764 4.2: client's and server's key,
    /// client's and server's salt).
    pub fn of_client(crypto: &CryptoProvider, material: &[u8], length: usize, which: Use) -> Self {
        let (key, salts) = (&material[..length], &material[2 * length..]);
        Self::new(crypto, key, &salts[..SALT], which)
    }

    /// A key of its own from a master key of 16 or 32 bytes and a salt of 12.
    pub fn new(crypto: &CryptoProvider, key: &[u8], salt: &[u8], which: Use) -> Self {
        let label = which as u8;
        let mut own_salt = [0; SALT];
        derive(crypto, key, salt, label + 2, &mut own_salt);
        let cipher = if key.len() == 16 {
            let mut own = [0; 16];
            derive(crypto, key, salt, label, &mut own);
            let factory = crypto.srtp_provider.aead_aes_128_gcm();
            Cipher::Short(factory.create_cipher(own, true))
        } else {
            let mut own = [0; 32];
            derive(crypto, key, salt, label, &mut own);
            let factory = crypto.srtp_provider.aead_aes_256_gcm();
            Cipher::Long(factory.create_cipher(own, true))
        };
        Self {
            cipher,
            salt: own_salt,
            index: 0,
        }
    }

    fn seal(&mut self, iv: [u8; SALT], head: &[u8], body: &[u8], out: &mut [u8]) {
        let mut nonce = iv;
        for (byte, salt) in nonce.iter_mut().zip(self.salt) {
            *byte ^= salt;
        }
        let sealed = match &mut self.cipher {
            Cipher::Short(cipher) => cipher.encrypt(&nonce, head, body, out),
            Cipher::Long(cipher) => cipher.encrypt(&nonce, head, body, out),
        };
        // The sizes are right by construction, and nothing else can fail.
        debug_assert!(sealed.is_ok());
    }

    /// Appends a media packet, sealed (RFC 7714 8).
    pub fn rtp(&mut self, ssrc: u32, number: u64, head: &[u8], body: &[u8], to: &mut Vec<u8>) {
        let mut iv = [0; SALT];
        iv[2..6].copy_from_slice(&ssrc.to_be_bytes());
        iv[6..].copy_from_slice(&number.to_be_bytes()[2..]);
        to.extend(head);
        let start = to.len();
        to.resize(start + body.len() + TAG, 0);
        self.seal(iv, head, body, &mut to[start..]);
    }

    /// A report or feedback, sealed (RFC 7714 9).
    pub fn rtcp(&mut self, packet: &[u8]) -> Vec<u8> {
        self.index = (self.index + 1) & !ENCRYPTED;
        let mut iv = [0; SALT];
        iv[2..6].copy_from_slice(&packet[4..8]);
        iv[8..].copy_from_slice(&self.index.to_be_bytes());
        let word = (ENCRYPTED | self.index).to_be_bytes();
        let (head, body) = packet.split_at(8);
        let mut out = head.to_vec();
        out.resize(8 + body.len() + TAG, 0);
        let mut known = head.to_vec();
        known.extend(word);
        self.seal(iv, &known, body, &mut out[8..]);
        out.extend(word);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len() / 2)
            .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
            .collect()
    }

    /// Key derivation test vector of RFC 3711 B.3, whose salt has 14 bytes: its first 12 do where
    /// the last two are put where the round counter is.
    #[test]
    fn keys_are_derived_as_the_rfc_does() {
        let crypto = str0m::crypto::from_feature_flags();
        let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let mut input = [0u8; 16];
        input[..14].copy_from_slice(&hex("0EC675AD498AFEEBB6960B3AABE6"));
        let mut block = [0u8; 32];
        crypto
            .srtp_provider
            .srtp_aes_128_ecb_round(&key, &input, &mut block);
        assert_eq!(block[..16], hex("C61E7A93744F39EE10734AFE3FF7A087"));
        let mut out = [0; 20];
        derive(&crypto, &key, &input[..12], 0, &mut out);
        let mut first = [0u8; 16];
        first[..12].copy_from_slice(&input[..12]);
        crypto
            .srtp_provider
            .srtp_aes_128_ecb_round(&key, &first, &mut block);
        assert_eq!(out[..16], block[..16]);
    }

    #[test]
    fn what_is_sealed_can_be_opened_by_the_same_key() {
        let crypto = str0m::crypto::from_feature_flags();
        let (key, salt) = ([3; 16], [5; 12]);
        let mut sealer = Sealer::new(&crypto, &key, &salt, Use::Rtp);
        let head = [0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9];
        let mut out = Vec::new();
        sealer.rtp(9, 1, &head, b"frame", &mut out);
        assert_eq!(out.len(), 12 + 5 + TAG);
        let (mut own, mut own_salt) = ([0; 16], [0; 12]);
        derive(&crypto, &key, &salt, 0, &mut own);
        derive(&crypto, &key, &salt, 2, &mut own_salt);
        let iv = str0m::crypto::AeadAes128Gcm::rtp_iv(own_salt, 9, 0, 1);
        let mut opener = crypto
            .srtp_provider
            .aead_aes_128_gcm()
            .create_cipher(own, false);
        let mut plain = [0; 5];
        opener
            .decrypt(&iv, &[&head], &out[12..], &mut plain)
            .unwrap();
        assert_eq!(&plain, b"frame");
    }
}
