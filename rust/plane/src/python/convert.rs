//! What crosses the boundary: tracks and addresses come in, events and errors go out.

use crate::codec::Codec;
use crate::event::Event;
use crate::media::{Kind, TrackSpec};
use crate::plane::Gone;
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use std::net::IpAddr;

/// Id, kind, codec, clock rate, payload type, parameter sets, lengths for AAC: see
/// [`Codec::from_name`].
pub(super) type Spec = (u8, String, String, u32, u8, Vec<Vec<u8>>, (u8, u8, u8));

impl From<Gone> for PyErr {
    fn from(gone: Gone) -> Self {
        PyKeyError::new_err(gone.0)
    }
}

pub(super) fn kind_of(name: &str) -> PyResult<Kind> {
    match name {
        "video" => Ok(Kind::Video),
        "audio" => Ok(Kind::Audio),
        "data" => Ok(Kind::Data),
        other => Err(PyValueError::new_err(format!(
            "no such kind of track: {other:?}"
        ))),
    }
}

pub(super) fn track(spec: Spec) -> PyResult<TrackSpec> {
    let (id, kind, codec, clock_rate, payload_type, parameter_sets, aac) = spec;
    let kind = kind_of(&kind)?;
    if clock_rate == 0 || payload_type > 127 {
        return Err(PyValueError::new_err(
            "clock rate and payload type: 1 and more, 0 to 127",
        ));
    }
    let codec = Codec::from_name(&codec, aac);
    Ok(TrackSpec {
        id,
        kind,
        codec,
        clock_rate,
        payload_type,
        parameter_sets,
    })
}

pub(super) fn address(text: &str) -> PyResult<IpAddr> {
    text.parse()
        .map_err(|_| PyValueError::new_err(format!("not a numeric address: {text:?}")))
}

pub(super) fn event(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyTuple>> {
    match event {
        Event::SourceActive {
            channel,
            source,
            epoch,
            layout_changed,
        } => ("source-active", channel, source, epoch, layout_changed).into_pyobject(py),
        Event::SourceSilent { channel, source } => {
            ("source-silent", channel, source).into_pyobject(py)
        }
        Event::ChannelSilent { channel } => ("channel-silent", channel).into_pyobject(py),
        Event::Control { conn, data } => {
            ("control", conn, PyBytes::new(py, &data)).into_pyobject(py)
        }
        Event::ConnClosed { conn, reason } => ("conn-closed", conn, reason).into_pyobject(py),
        Event::ReaderClosed { reader, reason } => {
            ("reader-closed", reader, reason).into_pyobject(py)
        }
        Event::RtcState { session, state } => ("rtc-state", session, state).into_pyobject(py),
        Event::RtcClosed { session, reason } => ("rtc-closed", session, reason).into_pyobject(py),
        Event::MeshUp { link } => ("mesh-up", link).into_pyobject(py),
        Event::MeshMessage { link, data } => {
            ("mesh-message", link, PyBytes::new(py, &data)).into_pyobject(py)
        }
        Event::MeshSilent { link } => ("mesh-silent", link).into_pyobject(py),
        Event::MeshBack { link } => ("mesh-back", link).into_pyobject(py),
        Event::MeshCast { link, cast, heard } => ("mesh-cast", link, cast, heard).into_pyobject(py),
        Event::MeshClosed { link, reason } => ("mesh-closed", link, reason).into_pyobject(py),
        Event::SenderLow { sender, queued_us } => {
            ("sender-low", sender, queued_us).into_pyobject(py)
        }
        Event::SenderEnded { sender } => ("sender-ended", sender).into_pyobject(py),
        Event::SenderClosed { sender, reason } => {
            ("sender-closed", sender, reason).into_pyobject(py)
        }
        Event::TapReady { reader } => ("tap-ready", reader).into_pyobject(py),
    }
}
