//! A client's checks of a path, written anew.

use str0m::crypto::from_feature_flags;
use str0m::ice::StunMessage;

/// A client's datagram to who gave it this answer: a check without the nomination, anything else as it is.
pub fn undecided(data: Vec<u8>, answer: &str) -> Vec<u8> {
    let Ok(check) = StunMessage::parse(&data) else {
        return data;
    };
    if !check.is_binding_request() || !check.use_candidate() {
        return data;
    }
    let password = answer
        .lines()
        .find_map(|line| line.strip_prefix("a=ice-pwd:"))
        .unwrap();
    let without = StunMessage::binding_request(
        check.username().unwrap(),
        check.trans_id(),
        true,
        check.ice_controlling().unwrap(),
        check.prio().unwrap(),
        false,
    );
    let mut written = vec![0; 1_024];
    let hmac = from_feature_flags().sha1_hmac_provider;
    let length = without
        .to_bytes(Some(password.as_bytes()), &mut written, |key, parts| {
            hmac.sha1_hmac(key, parts)
        })
        .unwrap();
    written.truncate(length);
    written
}
