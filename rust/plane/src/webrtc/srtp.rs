//! SRTP and SRTCP as a viewer's server speaks it: media and reports sealed, feedback opened
//! (RFC 3711; AES-GCM by RFC 7714).

use super::keys::Keys;
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::fmt;
use str0m::crypto::dtls::SrtpProfile;
use str0m::crypto::{
    AeadAes128Gcm, Aes128CmSha1_80, Aes128CmSha1_80Cipher, CryptoProvider, from_feature_flags,
};

/// Bytes that sealing adds to a media packet at most.
pub const MAX_TAG: usize = AeadAes128Gcm::TAG_LEN;

/// Marks an encrypted packet of control (RFC 3711 section 3.4), before its 31-bit index.
const ENCRYPTED: u32 = 1 << 31;
/// Bytes of control that stay readable: header and sender.
const CONTROL_HEAD: usize = 8;
/// Bytes of the index.
const INDEX: usize = 4;
/// Senders of feedback whose indices are remembered; a viewer has one for each track at most.
const MAX_SENDERS: usize = 16;
/// Indices behind the newest that are told apart (RFC 3711 section 3.3.2 wants 64 at least).
const WINDOW: u32 = 64;

/// What a key is for: its label (RFC 3711 section 4.3.2).
#[derive(Clone, Copy)]
enum Use {
    Media = 0,
    Control = 3,
}

enum Cipher {
    Gcm {
        key: LessSafeKey,
        salt: [u8; AeadAes128Gcm::SALT_LEN],
    },
    Counter {
        cipher: Box<dyn Aes128CmSha1_80Cipher>,
        salt: [u8; Aes128CmSha1_80::SALT_LEN],
        proof: [u8; Aes128CmSha1_80::HMAC_KEY_LEN],
    },
}

/// Which packets of one sender were taken.
struct Taken {
    sender: u32,
    newest: u32,
    /// Bit n: index `newest - n`.
    seen: u64,
}

/// Both directions of a viewer's session.
pub struct Srtp {
    media: Cipher,
    control: Cipher,
    feedback: Cipher,
    crypto: CryptoProvider,
    index: u32,
    taken: Vec<Taken>,
}

impl fmt::Debug for Srtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Srtp").finish_non_exhaustive() // never what is secret
    }
}

/// AES in counter mode as a generator of keys (RFC 3711 section 4.3.3).
fn derive(crypto: &CryptoProvider, key: &[u8], salt: &[u8], label: u8, out: &mut [u8]) {
    let mut input = [0; 16];
    input[..salt.len()].copy_from_slice(salt);
    input[7] ^= label;
    for (round, out) in out.chunks_mut(16).enumerate() {
        input[14..].copy_from_slice(&(round as u16).to_be_bytes());
        let mut block = [0; 32];
        if key.len() == 16 {
            let provider = crypto.srtp_provider;
            provider.srtp_aes_128_ecb_round(key, &input, &mut block);
        } else {
            let provider = crypto.srtp_provider;
            provider.srtp_aes_256_ecb_round(key, &input, &mut block);
        }
        let length = out.len();
        out.copy_from_slice(&block[..length]);
    }
}

impl Cipher {
    fn new(
        crypto: &CryptoProvider,
        profile: SrtpProfile,
        key: &[u8],
        salt: &[u8],
        what: Use,
        seals: bool,
    ) -> Option<Self> {
        let label = what as u8;
        if profile == SrtpProfile::AES128_CM_SHA1_80 {
            let (mut own, mut proof, mut own_salt) = ([0; 16], [0; 20], [0; 14]);
            derive(crypto, key, salt, label, &mut own);
            derive(crypto, key, salt, label + 1, &mut proof);
            derive(crypto, key, salt, label + 2, &mut own_salt);
            let factory = crypto.srtp_provider.aes_128_cm_sha1_80();
            return Some(Self::Counter {
                cipher: factory.create_cipher(own, seals),
                salt: own_salt,
                proof,
            });
        }
        let algorithm = if key.len() == 16 {
            &AES_128_GCM
        } else {
            &AES_256_GCM
        };
        let mut own = [0; 32];
        derive(crypto, key, salt, label, &mut own[..key.len()]);
        let mut own_salt = [0; 12];
        derive(crypto, key, salt, label + 2, &mut own_salt);
        let key = UnboundKey::new(algorithm, &own[..key.len()]).ok()?;
        Some(Self::Gcm {
            key: LessSafeKey::new(key),
            salt: own_salt,
        })
    }
}

impl Srtp {
    /// From what a handshake gave; `None` for ciphers that nobody offers.
    pub fn new(keys: &Keys) -> Option<Self> {
        let (key, salt) = match keys.profile {
            SrtpProfile::AES128_CM_SHA1_80 => (16, 14),
            SrtpProfile::AEAD_AES_128_GCM => (16, 12),
            SrtpProfile::AEAD_AES_256_GCM => (32, 12),
            _ => return None,
        };
        // Client's key, server's key, client's salt, server's salt.
        let part = |from: usize, length: usize| keys.material.get(from..from + length);
        let of = |client: bool| {
            let second = usize::from(!client);
            Some((
                part(second * key, key)?,
                part(2 * key + second * salt, salt)?,
            ))
        };
        let (ours, theirs) = (of(keys.active)?, of(!keys.active)?);
        let crypto = from_feature_flags();
        let cipher = |(key, salt): (&[u8], &[u8]), what, seals| {
            Cipher::new(&crypto, keys.profile, key, salt, what, seals)
        };
        Some(Self {
            media: cipher(ours, Use::Media, true)?,
            control: cipher(ours, Use::Control, true)?,
            feedback: cipher(theirs, Use::Control, false)?,
            crypto,
            index: 0,
            taken: Vec::new(),
        })
    }

    /// Seals a media packet in its place, whose header ends at `head`; `index` is its extended
    /// number. `false` when that cannot be done.
    pub fn seal(&mut self, ssrc: u32, index: u64, head: usize, packet: &mut Vec<u8>) -> bool {
        match &mut self.media {
            Cipher::Gcm { key, salt } => {
                let roc = (index >> 16) as u32;
                let iv = AeadAes128Gcm::rtp_iv(*salt, ssrc, roc, index as u16);
                let (head, body) = packet.split_at_mut(head);
                let nonce = Nonce::assume_unique_for_key(iv);
                let Ok(tag) = key.seal_in_place_separate_tag(nonce, Aad::from(&*head), body) else {
                    return false;
                };
                packet.extend_from_slice(tag.as_ref());
            }
            Cipher::Counter {
                cipher,
                salt,
                proof,
            } => {
                let iv = Aes128CmSha1_80::rtp_iv(*salt, ssrc, index);
                let body = packet[head..].to_vec();
                if cipher.encrypt(&iv, &body, &mut packet[head..]).is_err() {
                    return false;
                }
                let roc = (index >> 16) as u32;
                let hmac = self.crypto.sha1_hmac_provider;
                let tag = hmac.sha1_hmac(proof, &[packet, &roc.to_be_bytes()]);
                packet.extend_from_slice(&tag[..Aes128CmSha1_80::HMAC_TAG_LEN]);
            }
        }
        true
    }

    /// Seals a compound of reports.
    pub fn seal_control(&mut self, compound: &[u8]) -> Option<Vec<u8>> {
        let (head, body) = compound.split_at_checked(CONTROL_HEAD)?;
        let ssrc = sender(head)?;
        let index = self.index;
        self.index = (self.index + 1) & !ENCRYPTED;
        let word = (ENCRYPTED | index).to_be_bytes();
        let mut out = Vec::with_capacity(compound.len() + INDEX + MAX_TAG);
        out.extend_from_slice(compound);
        match &mut self.control {
            Cipher::Gcm { key, salt } => {
                let iv = AeadAes128Gcm::rtcp_iv(*salt, ssrc, index);
                let known = known(head, word);
                let body = &mut out[CONTROL_HEAD..];
                let nonce = Nonce::assume_unique_for_key(iv);
                let sealed = key.seal_in_place_separate_tag(nonce, Aad::from(known), body);
                out.extend_from_slice(sealed.ok()?.as_ref());
                out.extend_from_slice(&word);
            }
            Cipher::Counter {
                cipher,
                salt,
                proof,
            } => {
                let iv = Aes128CmSha1_80::rtp_iv(*salt, ssrc, u64::from(index));
                let sealed = cipher.encrypt(&iv, body, &mut out[CONTROL_HEAD..]);
                sealed.ok()?;
                out.extend_from_slice(&word);
                let tag = self.crypto.sha1_hmac_provider.sha1_hmac(proof, &[&out]);
                out.extend_from_slice(&tag[..Aes128CmSha1_80::HMAC_TAG_LEN]);
            }
        }
        Some(out)
    }

    /// Opens a compound of feedback; `None` for what is forged, or came before.
    pub fn open_control(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        let ssrc = sender(data)?;
        let (word, out) = match &mut self.feedback {
            Cipher::Gcm { key, salt } => {
                let (rest, word) = data.split_last_chunk::<INDEX>()?;
                let mut out = rest.to_vec();
                let (head, body) = out.split_at_mut_checked(CONTROL_HEAD)?;
                let index = u32::from_be_bytes(*word) & !ENCRYPTED;
                let nonce =
                    Nonce::assume_unique_for_key(AeadAes128Gcm::rtcp_iv(*salt, ssrc, index));
                let known = Aad::from(known(head, *word));
                let plain = key.open_in_place(nonce, known, body).ok()?.len();
                out.truncate(CONTROL_HEAD + plain);
                (*word, out)
            }
            Cipher::Counter {
                cipher,
                salt,
                proof,
            } => {
                const TAG: usize = Aes128CmSha1_80::HMAC_TAG_LEN;
                let (proved, tag) = data.split_last_chunk::<TAG>()?;
                let hmac = self.crypto.sha1_hmac_provider;
                let check = |key: &[u8], parts: &[&[u8]]| hmac.sha1_hmac(key, parts);
                if !Aes128CmSha1_80::rtcp_verify(check, proof, proved, tag) {
                    return None;
                }
                let (rest, word) = proved.split_last_chunk::<INDEX>()?;
                let (head, sealed) = rest.split_at_checked(CONTROL_HEAD)?;
                let index = u32::from_be_bytes(*word) & !ENCRYPTED;
                let iv = Aes128CmSha1_80::rtp_iv(*salt, ssrc, u64::from(index));
                let mut body = vec![0; sealed.len()];
                cipher.decrypt(&iv, sealed, &mut body).ok()?;
                (*word, [head, &body].concat())
            }
        };
        let word = u32::from_be_bytes(word);
        // Whoever agreed on encryption encrypts.
        (word & ENCRYPTED != 0 && self.take(ssrc, word & !ENCRYPTED)).then_some(out)
    }

    /// Whether an index is new, which it is once.
    fn take(&mut self, sender: u32, index: u32) -> bool {
        let Some(known) = self.taken.iter_mut().find(|one| one.sender == sender) else {
            if self.taken.len() >= MAX_SENDERS {
                return false;
            }
            self.taken.push(Taken {
                sender,
                newest: index,
                seen: 1,
            });
            return true;
        };
        if index > known.newest {
            let step = index - known.newest;
            known.seen = known.seen.checked_shl(step).unwrap_or(0) | 1;
            known.newest = index;
            return true;
        }
        let back = known.newest - index;
        if back >= WINDOW || known.seen >> back & 1 == 1 {
            return false;
        }
        known.seen |= 1 << back;
        true
    }
}

fn sender(data: &[u8]) -> Option<u32> {
    let bytes = data.get(4..CONTROL_HEAD)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// What a seal on control proves besides what it hides (RFC 7714 section 9.2).
fn known(head: &[u8], word: [u8; INDEX]) -> [u8; CONTROL_HEAD + INDEX] {
    let mut known = [0; CONTROL_HEAD + INDEX];
    known[..CONTROL_HEAD].copy_from_slice(head);
    known[CONTROL_HEAD..].copy_from_slice(&word);
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PROFILES: [(SrtpProfile, usize); 3] = [
        (SrtpProfile::AES128_CM_SHA1_80, 60),
        (SrtpProfile::AEAD_AES_128_GCM, 56),
        (SrtpProfile::AEAD_AES_256_GCM, 88),
    ];

    /// Server and viewer of one handshake.
    fn ends(profile: SrtpProfile, length: usize) -> (Srtp, Srtp) {
        let end = |active| {
            let material = (0..length as u8).collect();
            Srtp::new(&Keys {
                profile,
                material,
                active,
            })
            .unwrap()
        };
        (end(false), end(true))
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len() / 2)
            .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn keys_are_derived_as_in_rfc_3711_b_3() {
        let crypto = from_feature_flags();
        let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        let (mut own, mut own_salt, mut proof) = ([0; 16], [0; 14], [0; 20]);
        derive(&crypto, &key, &salt, 0, &mut own);
        derive(&crypto, &key, &salt, 2, &mut own_salt);
        derive(&crypto, &key, &salt, 1, &mut proof);
        assert_eq!(own[..], hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(own_salt[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(proof[..], hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    }

    #[test]
    fn control_is_opened_by_the_other_end_once() {
        for (profile, length) in PROFILES {
            let (mut server, mut viewer) = ends(profile, length);
            let compound = crate::rtcp::receiver_report(7, &crate::rtcp::Block::default(), "a");
            let sent: Vec<Vec<u8>> = (0..70)
                .map(|_| viewer.seal_control(&compound).unwrap())
                .collect();
            for late in [1, 0, 69, 68] {
                assert_eq!(server.open_control(&sent[late]).unwrap(), compound);
                assert_eq!(server.open_control(&sent[late]), None, "played again");
            }
            assert_eq!(server.open_control(&sent[2]), None, "too old to tell");
            let mut forged = sent[60].clone();
            forged[9] ^= 1;
            assert_eq!(server.open_control(&forged), None);
            assert_eq!(server.open_control(&sent[60]).unwrap(), compound);
        }
    }

    #[test]
    fn senders_of_feedback_are_bounded() {
        let (mut server, mut viewer) = ends(SrtpProfile::AEAD_AES_128_GCM, 56);
        let taken = (0..100)
            .filter(|ssrc| {
                let compound =
                    crate::rtcp::receiver_report(*ssrc, &crate::rtcp::Block::default(), "");
                let sealed = viewer.seal_control(&compound).unwrap();
                server.open_control(&sealed).is_some()
            })
            .count();
        assert_eq!(taken, MAX_SENDERS);
    }

    proptest! {
        #[test]
        fn never_panics(data in proptest::collection::vec(any::<u8>(), 0..80), which in 0usize..3) {
            let (mut server, _) = ends(PROFILES[which].0, PROFILES[which].1);
            prop_assert_eq!(server.open_control(&data), None);
        }
    }
}
