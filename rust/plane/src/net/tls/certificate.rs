//! From PEM text to what TLS needs; what does not fit together is refused with a reason.

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig};
use std::sync::Arc;

/// Certificates a chain may have; public ones have two to four.
const MAX_CHAIN: usize = 10;

/// Why a certificate and a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCertificate(pub String);

impl std::fmt::Display for BadCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn bad(reason: impl Into<String>) -> BadCertificate {
    BadCertificate(reason.into())
}

/// TLS 1.2 and 1.3 with a certificate chain (the server's own first) and its key, both PEM.
pub fn configure(chain: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, BadCertificate> {
    let provider = Arc::new(default_provider());
    let certified = certify(chain, key, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| bad(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    // HTTP/2 is a proxy's business; who speaks nothing else is told so in the handshake.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Tickets hold the session's state, so that resumption costs no memory here.
    config.ticketer = Ticketer::new().map_err(|error| bad(error.to_string()))?;
    Ok(Arc::new(config))
}

fn certify(
    chain: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, BadCertificate> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(format!("certificate: {error}")))?;
    if chain.is_empty() {
        return Err(bad("certificate: no PEM section CERTIFICATE"));
    }
    if chain.len() > MAX_CHAIN {
        return Err(bad(format!(
            "certificate: more than {MAX_CHAIN} in a chain"
        )));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            bad("key: no PEM section PRIVATE KEY (an encrypted one cannot be used)")
        }
        other => bad(format!("key: {other}")),
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            bad("the key is not that of the certificate")
        }
        other => bad(other.to_string()),
    })
}
