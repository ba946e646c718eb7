//! A port with a certificate of its own, and clients that trust it.
#![allow(dead_code)] // each test file uses its part

use _plane::net::tls::port::Accepted;
use _plane::net::tls::{Limits, TlsPort};
use _plane::plane::Plane;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything here takes milliseconds; a machine that needs longer than this has stopped.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub type Client = StreamOwned<ClientConnection, TcpStream>;

pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub struct Certificate {
    pub chain: String,
    pub key: String,
    pub der: CertificateDer<'static>,
}

pub fn certificate() -> Certificate {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Certificate {
        chain: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        der: made.cert.der().clone(),
    }
}

pub struct Site {
    pub plane: Plane,
    pub port: Arc<TlsPort>,
    pub address: SocketAddr,
    pub certificate: Certificate,
}

impl Site {
    pub fn new() -> Self {
        Self::with(Limits {
            connections: 1_000,
            handshake_us: 5_000_000,
        })
    }

    pub fn with(limits: Limits) -> Self {
        let plane = Plane::new(1, 1_000).unwrap();
        let certificate = certificate();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (chain, key) = (certificate.chain.as_bytes(), certificate.key.as_bytes());
        let port = plane
            .tls_open(listener.as_raw_fd(), chain, key, limits)
            .unwrap();
        Self {
            plane,
            port,
            address,
            certificate,
        }
    }

    pub fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// A client whose handshake is done, and Python's end of its connection.
    pub fn client(&self) -> (Client, UnixStream) {
        let mut client = self.begin();
        while client.conn.is_handshaking() {
            client.conn.complete_io(&mut client.sock).unwrap();
        }
        (client, self.accept().fd.into())
    }

    pub fn begin(&self) -> Client {
        StreamOwned::new(session(&self.certificate.der), self.connect())
    }

    pub fn accept(&self) -> Accepted {
        let mut accepted = Vec::new();
        until("a connection is secured", || {
            accepted = self.port.accept(1);
            !accepted.is_empty()
        });
        accepted.remove(0)
    }
}

/// A client's session that trusts one certificate and no other.
pub fn session(trusted: &CertificateDer<'static>) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}
