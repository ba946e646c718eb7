//! Which path the peer wants, seen from what it does on it.
//!
//! We are ICE-lite: the peer checks paths, and says with a check that it nominates one (RFC 8445 section
//! 8.1.1). Browsers say so with their second check of it, 48 ms after the first, and begin the handshake
//! at once when the first is answered. Who answers that only after the nomination makes everybody wait.

use super::{Input, Phase, Receive, Session, Transport};
use std::net::SocketAddr;
use str0m::crypto::from_feature_flags;
use str0m::ice::{StunMessage, TransId};

/// More than the longest check that we write: an ICE name has at most 256 characters on either side.
const MAX_CHECK: usize = 1_024;

/// What is known of the peer's wishes.
#[derive(Debug)]
pub(super) enum Nomination {
    /// It has said nothing; its newest check, if there was one.
    Awaited(Option<Check>),
    /// It has nominated a path, or begun the handshake on it.
    Made,
}

/// A check with the right password.
#[derive(Debug)]
pub(super) struct Check {
    way: (Transport, SocketAddr),
    username: String,
    priority: u32,
    tie_breaker: u64,
    transaction: TransId,
}

impl Session {
    /// Notes a check with the right password, which came on a path.
    pub(super) fn note_check(&mut self, way: (Transport, SocketAddr), data: &[u8]) {
        let Nomination::Awaited(newest) = &mut self.nomination else {
            return;
        };
        let Ok(message) = StunMessage::parse(data) else {
            return;
        };
        if message.use_candidate() {
            self.nomination = Nomination::Made;
        } else if let (Some(username), Some(priority), Some(tie_breaker)) = (
            message.username(),
            message.prio(),
            message.ice_controlling(),
        ) {
            *newest = Some(Check {
                way,
                username: username.to_owned(),
                priority,
                tie_breaker,
                transaction: message.trans_id(),
            });
        }
    }

    /// The peer begins the handshake on a path, to our address `to`: where its newest check came
    /// on that path, that check is taken as the nomination that is about to follow.
    pub(super) fn note_handshake(
        &mut self,
        now: u64,
        way: (Transport, SocketAddr),
        to: SocketAddr,
    ) {
        let check = match &self.nomination {
            Nomination::Awaited(Some(check)) if check.way == way => check,
            _ => return,
        };
        if self.phase != Phase::Connecting {
            return;
        }
        let message = StunMessage::binding_request(
            &check.username,
            check.transaction,
            true,
            check.tie_breaker,
            check.priority,
            true,
        );
        let password = self.rtc.direct_api().local_ice_credentials().pass;
        let mut data = vec![0; MAX_CHECK];
        let hmac = from_feature_flags().sha1_hmac_provider;
        let sign = |key: &[u8], parts: &[&[u8]]| hmac.sha1_hmac(key, parts);
        let written = message.to_bytes(Some(password.as_bytes()), &mut data, sign);
        self.nomination = Nomination::Made;
        let Ok(length) = written else {
            return;
        };
        if let Ok(receive) = Receive::new(way.0.protocol(), way.1, to, &data[..length]) {
            let input = Input::Receive(self.timeline.instant(now), receive);
            // Answered once more, as if it had come twice.
            if self.rtc.handle_input(input).is_ok() {
                self.pump(now);
            }
        }
    }
}
