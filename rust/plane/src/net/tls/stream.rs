//! A TLS session and its socket, read and written like a socket that does not block.

use crate::net::sys;
use rustls::{ServerConfig, ServerConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Bytes encrypted before the socket must take them: one record (RFC 8446 §5.1). More would hide
/// from the plane that a viewer lags.
pub const RECORD: usize = 16 << 10;

/// The peer's end of a connection, decrypted.
#[derive(Debug)]
pub struct TlsStream {
    socket: Arc<OwnedFd>,
    session: Box<ServerConnection>,
    sent: u64,
}

/// The socket, in the words that the session knows.
struct Raw(RawFd);

impl Read for Raw {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        sys::read(self.0, buffer)
    }
}

impl Write for Raw {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        sys::write(self.0, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

impl TlsStream {
    /// A session whose handshake is still to come, on a socket that does not block.
    pub fn new(socket: OwnedFd, config: &Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            socket: Arc::new(socket),
            session: Box::new(ServerConnection::new(Arc::clone(config))?),
            sent: 0,
        })
    }

    /// Its descriptor.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Keeps the descriptor's number taken for as long as it is held.
    pub fn hold(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.socket)
    }

    /// Whether the handshake goes on.
    pub fn handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether encrypted bytes wait for the socket.
    pub fn pending(&self) -> bool {
        self.session.wants_write()
    }

    /// Bytes that the socket took so far, encrypted.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Takes bytes that were read from the socket before (at most 4 kB: they may be plaintext that
    /// nobody reads yet), and answers.
    pub fn feed(&mut self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            if self.session.read_tls(&mut data)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into()); // it said goodbye already
            }
            self.understand()?;
        }
        Ok(())
    }

    /// Goes on with the handshake; `WouldBlock` when the peer has its turn.
    pub fn shake(&mut self) -> io::Result<()> {
        while self.handshaking() {
            if self.session.read_tls(&mut Raw(self.socket.as_raw_fd()))? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.understand()?;
        }
        Ok(())
    }

    /// What a broken peer is told goes out as far as the socket takes it.
    fn understand(&mut self) -> io::Result<()> {
        let result = self.session.process_new_packets().map_err(broken);
        let flushed = self.flush();
        result?;
        flushed?;
        Ok(())
    }

    /// Reads plaintext: all there is, where the buffer has room for two records. 0: the peer
    /// ended, with or without a word. `InvalidData`: it broke the rules, and was told so.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
            match self.session.read_tls(&mut Raw(self.socket.as_raw_fd())) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => self.understand()?,
            }
        }
    }

    /// Encrypts and writes; the plaintext taken, 0 when the socket is full. What was taken and not
    /// written, one record at most, makes [`TlsStream::pending`] true.
    pub fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while taken < data.len() && self.flush()? {
            let part = &data[taken..data.len().min(taken + RECORD)];
            self.session.writer().write_all(part)?;
            taken += part.len();
        }
        self.flush()?;
        Ok(taken)
    }

    /// Writes what is encrypted; `true` when nothing is left.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Raw(self.socket.as_raw_fd())) {
                Ok(count) => self.sent += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Says that nothing more will come (RFC 8446 §6.1).
    pub fn say_end(&mut self) {
        self.session.send_close_notify();
        let _ = self.flush(); // a peer that is gone needs no goodbye
    }
}
