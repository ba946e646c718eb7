//! Paced senders as Python sees them.

use super::convert::address;
use crate::event::Id;
use crate::plane::{self, NotDone};
use crate::sender::{Node, Refused, Start, State, TrackSpec};
use crate::{clock, sender};
use pyo3::exceptions::{PyBlockingIOError, PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Track, SSRC, payload type, clock rate, sequence number, timestamp.
pub(super) type Spec = (u8, u32, u8, u32, u16, u32);

impl From<NotDone> for PyErr {
    fn from(why: NotDone) -> Self {
        let refused = match why {
            NotDone::Gone(id) => return PyKeyError::new_err(id),
            NotDone::Refused(refused) => refused,
        };
        match refused {
            Refused::Full => PyBlockingIOError::new_err("too much is fed already"),
            Refused::Malformed(why) => PyValueError::new_err(why.to_string()),
            Refused::Order => PyValueError::new_err("a block out of order"),
            Refused::Finished => {
                PyValueError::new_err("the sender was told that nothing more is fed")
            }
            Refused::Nowhere => PyValueError::new_err("the sender has no destination"),
            Refused::Value(why) => PyValueError::new_err(why),
        }
    }
}

#[allow(clippy::too_many_arguments)] // as Python names them
pub(super) fn open(
    plane: &plane::Plane,
    tracks: Vec<Spec>,
    cname: &str,
    low_us: u64,
    max_bytes: usize,
    node: Option<(u16, u8)>,
    keep_us: u64,
    ahead_us: u64,
) -> PyResult<Id> {
    let tracks: Vec<TrackSpec> = tracks
        .into_iter()
        .map(
            |(track, ssrc, payload_type, clock_rate, sequence, timestamp)| TrackSpec {
                track,
                ssrc,
                payload_type,
                clock_rate,
                sequence,
                timestamp,
            },
        )
        .collect();
    let node = node.map(|(number, extension)| Node {
        number,
        extension,
        keep_us,
        ahead_us,
    });
    Ok(plane.open_sender(&tracks, cname, low_us, max_bytes, node)?)
}

pub(super) fn to_udp(
    plane: &plane::Plane,
    sender: Id,
    endpoint: Id,
    destinations: Vec<(u8, String, u16, u16)>,
) -> PyResult<()> {
    let targets: PyResult<Vec<plane::UdpTarget>> = destinations
        .into_iter()
        .map(|(track, ip, media, control)| Ok((track, address(&ip)?, media, control)))
        .collect();
    Ok(plane.sender_to_udp(sender, endpoint, &targets?)?)
}

#[allow(clippy::too_many_arguments)] // as Python names them
pub(super) fn start(
    plane: &plane::Plane,
    sender: Id,
    from_us: u64,
    at_us: Option<u64>,
    rate: f64,
    scale: f64,
    keys_only: Option<bool>,
    until_us: Option<u64>,
    tracks: Option<Vec<u8>>,
) -> PyResult<Vec<(u8, u16, u32)>> {
    let start = Start {
        from_us,
        at: at_us.map_or_else(clock::now, clock::from_monotonic),
        rate,
        scale,
        keys_only: keys_only.unwrap_or(scale > 1.0),
        until_us,
        tracks,
    };
    Ok(plane.sender_start(sender, &start)?)
}

pub(super) fn stats<'py>(
    plane: &plane::Plane,
    py: Python<'py>,
    sender: Id,
) -> PyResult<Bound<'py, PyDict>> {
    let numbers = py.detach(|| plane.sender_numbers(sender))?;
    let dict = PyDict::new(py);
    let state = match numbers.state {
        State::Idle => "idle",
        State::Playing => "playing",
        State::Paused => "paused",
        State::Ended => "ended",
    };
    dict.set_item("state", state)?;
    let sender::Counters {
        packets,
        bytes,
        late_1ms,
        late_5ms,
        late_20ms,
        late_100ms,
        late_max_us,
        underruns,
        slipped_us,
        stalled_us,
        send_errors,
        resent,
        resend_refused,
    } = numbers.counters;
    for (name, value) in [
        ("position_us", numbers.position_us),
        ("queued_us", numbers.queued_us),
        ("queued_bytes", numbers.queued_bytes as u64),
        ("packets", packets),
        ("bytes", bytes),
        ("late_1ms", late_1ms),
        ("late_5ms", late_5ms),
        ("late_20ms", late_20ms),
        ("late_100ms", late_100ms),
        ("late_max_us", late_max_us),
        ("underruns", underruns),
        ("slipped_us", slipped_us),
        ("stalled_us", stalled_us),
        ("send_errors", send_errors),
        ("resent", resent),
        ("resend_refused", resend_refused),
        ("rr_loss_permille", numbers.heard.loss_permille),
        ("rr_jitter_us", numbers.heard.jitter_us),
    ] {
        dict.set_item(name, value)?;
    }
    let age = |last: u64| (clock::now().saturating_sub(last) / 1_000) as i64;
    dict.set_item("last_rtcp_age_ms", numbers.heard.last.map_or(-1, age))?;
    Ok(dict)
}
