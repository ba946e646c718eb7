//! The keys of SRTP, kept from `str0m`: for most viewers it does ICE and DTLS only, and media are
//! sealed by [`super::direct`]. Who has the keys counts under them; two who did would use a nonce
//! twice.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
    SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider};

use crate::lock;

/// What a handshake gave.
pub struct Keys {
    /// Which ciphers.
    pub profile: SrtpProfile,
    /// Both sides' keys and salts (RFC 5764 section 4.2).
    pub material: Vec<u8>,
    /// Whether we began the handshake, so that the first key is ours.
    pub active: bool,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({:?})", self.profile) // never what is secret
    }
}

/// Where a handshake's keys will be.
pub type Slot = Arc<Mutex<Option<Keys>>>;

thread_local! {
    /// Where the keys of the handshake that was made last will be.
    static NEWEST: RefCell<Slot> = RefCell::default();
}

/// Makes something with a handshake in it; the slot gets the handshake's keys, and `str0m` none.
pub fn kept<T>(make: impl FnOnce(Arc<CryptoProvider>) -> T) -> (T, Slot) {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| {
        Arc::new(CryptoProvider {
            dtls_provider: &Keeping,
            ..str0m::crypto::from_feature_flags()
        })
    });
    let made = make(Arc::clone(provider));
    (made, NEWEST.take())
}

/// DTLS of the usual kind, but for its keys.
#[derive(Debug)]
struct Keeping;

#[derive(Debug)]
struct Handshake {
    inner: Box<dyn DtlsInstance>,
    slot: Slot,
    began: Instant,
}

impl DtlsProvider for Keeping {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        let usual = str0m::crypto::from_feature_flags().dtls_provider;
        usual.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let usual = str0m::crypto::from_feature_flags().dtls_provider;
        let inner = usual.new_dtls(cert, now, version, mtu)?;
        let slot = Slot::default();
        NEWEST.with_borrow_mut(|newest| *newest = Arc::clone(&slot));
        Ok(Box::new(Handshake {
            inner,
            slot,
            began: now,
        }))
    }
}

impl DtlsInstance for Handshake {
    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.inner.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.inner.poll_output(buf);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output {
            *lock(&self.slot) = Some(Keys {
                profile: *profile,
                material: material.to_vec(),
                active: self.inner.is_active(),
            });
            // A time that has passed: asked again at once, as after a packet.
            return DtlsOutput::Timeout(self.began);
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.inner.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.inner.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.inner.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.inner.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.inner.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.inner.close()
    }
}
