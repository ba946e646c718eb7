//! WebRTC as Python sees it.

use super::convert::kind_of;
use crate::codec::Codec;
use crate::event::Id;
use crate::media::Kind;
use crate::plane::{self, rtc::NotOpened};
use crate::webrtc::Refused;
use crate::webrtc::formats::Format;
use crate::webrtc::session::{PublishOptions, PublishedTrack, ViewOptions, ViewTrack};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::net::SocketAddr;
use std::sync::Arc;

/// Kind, codec, clock rate, channels, fmtp, payload type, simulcast layers.
type Published = (&'static str, &'static str, u32, u8, String, u8, Vec<String>);
/// Track, kind, codec, clock rate, channels, fmtp, bits a second.
type Viewed = (u8, String, String, u32, u8, String, u64);

impl From<NotOpened> for PyErr {
    fn from(why: NotOpened) -> Self {
        let refused = match why {
            NotOpened::Gone(id) => return PyKeyError::new_err(id),
            NotOpened::Refused(refused) => refused,
        };
        let kind = match refused {
            Refused::Malformed(_) | Refused::Fault => "malformed",
            Refused::TooLarge => "too-large",
            Refused::NothingOffered => "nothing",
            Refused::NoCommonCodec { .. } | Refused::Reordered => "codec",
            Refused::Full => "full",
            Refused::Unknown => "unknown",
        };
        PyValueError::new_err((kind, refused.to_string()))
    }
}

fn published(track: PublishedTrack) -> Published {
    (
        match track.kind {
            Kind::Video => "video",
            Kind::Audio => "audio",
            Kind::Data => "data",
        },
        track.format.codec.name(),
        track.format.clock_rate,
        track.format.channels,
        track.format.fmtp,
        track.payload_type,
        track.rids,
    )
}

fn viewed(track: Viewed) -> PyResult<ViewTrack> {
    let (id, kind, codec, clock_rate, channels, fmtp, rate) = track;
    Ok(ViewTrack {
        id,
        kind: kind_of(&kind)?,
        format: Format {
            codec: Codec::from_name(&codec, (0, 0, 0)),
            clock_rate,
            channels,
            fmtp,
        },
        rate,
    })
}

fn socket_address(text: &str) -> PyResult<SocketAddr> {
    text.parse()
        .map_err(|_| PyValueError::new_err(format!("not an address with a port: {text:?}")))
}

pub(super) fn open(
    plane: &Arc<plane::Plane>,
    py: Python<'_>,
    address: &str,
    candidates: &[String],
    tcp: bool,
    capacity: usize,
) -> PyResult<RtcPort> {
    let address = socket_address(address)?;
    let candidates: PyResult<Vec<_>> = candidates.iter().map(|at| socket_address(at)).collect();
    let candidates = candidates?;
    let (id, port) = py.detach(|| plane.rtc_open(address, &candidates, tcp, capacity))?;
    Ok(RtcPort {
        plane: Arc::clone(plane),
        id,
        port,
    })
}

/// A port for WebRTC.
#[pyclass(frozen, module = "heliograph.plane._plane")]
pub(super) struct RtcPort {
    plane: Arc<plane::Plane>,
    id: Id,
    #[pyo3(get)]
    port: u16,
}

#[pymethods]
impl RtcPort {
    #[pyo3(signature = (offer, codecs))]
    fn publish(
        &self,
        py: Python<'_>,
        offer: String,
        codecs: Vec<String>,
    ) -> PyResult<(Id, String, Vec<Published>)> {
        let codecs = codecs
            .iter()
            .map(|name| Codec::from_name(name, (0, 0, 0)))
            .collect();
        let options = PublishOptions { codecs };
        let (id, answer, tracks) =
            py.detach(|| self.plane.rtc_publish(self.id, &offer, &options))?;
        Ok((id, answer, tracks.into_iter().map(published).collect()))
    }

    fn attach(
        &self,
        py: Python<'_>,
        session: Id,
        input: Id,
        places: Vec<(usize, u8)>,
    ) -> PyResult<()> {
        py.detach(|| self.plane.rtc_attach(session, input, &places))?;
        Ok(())
    }

    fn attach_lower(
        &self,
        py: Python<'_>,
        session: Id,
        input: Id,
        place: usize,
        track: u8,
        below: usize,
    ) -> PyResult<()> {
        py.detach(|| {
            self.plane
                .rtc_attach_lower(session, input, place, track, below)
        })?;
        Ok(())
    }

    fn view(
        &self,
        py: Python<'_>,
        channel: Id,
        offer: String,
        tracks: Vec<Viewed>,
    ) -> PyResult<(Id, String)> {
        let options = ViewOptions {
            tracks: tracks.into_iter().map(viewed).collect::<PyResult<_>>()?,
            strict_profiles: false,
            initial_estimate: None,
        };
        Ok(py.detach(|| self.plane.rtc_view(self.id, channel, &offer, &options))?)
    }

    fn patch(&self, py: Python<'_>, session: Id, fragment: String) -> PyResult<Option<String>> {
        Ok(py.detach(|| self.plane.rtc_patch(session, &fragment))?)
    }

    fn close_session(&self, py: Python<'_>, session: Id) {
        py.detach(|| self.plane.rtc_close(session));
    }

    #[pyo3(signature = (reader, track))]
    fn limit(&self, py: Python<'_>, reader: Id, track: Option<u8>) -> PyResult<()> {
        py.detach(|| self.plane.rtc_limit(reader, track))?;
        Ok(())
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = py.detach(|| self.plane.rtc_counters(self.id))?;
        let (shard, streams) = (counters.shard, counters.streams);
        let dropped = shard.dropped;
        let dict = PyDict::new(py);
        for (name, count) in [
            ("sessions", counters.sessions as u64),
            ("received", shard.received),
            ("refused", shard.refused),
            ("sent", shard.sent),
            ("foreign", dropped.unknown_name + dropped.unknown_address),
            ("malformed", dropped.unknown_protocol),
            ("faults", shard.faults + counters.offer_faults),
            ("connections", counters.connections as u64),
            ("connections_accepted", streams.accepted),
            ("connections_refused", streams.refused),
            ("connections_expired", streams.expired),
            ("connections_malformed", streams.malformed),
            ("connections_dropped", streams.dropped),
        ] {
            dict.set_item(name, count)?;
        }
        Ok(dict)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.plane.rtc_shut(self.id));
    }
}
