//! Numbers for Python: of everything, of a channel and its sources, of a reader.

use crate::event::Id;
use crate::numbered::Seen;
use crate::numbering::Numbering;
use crate::plane::{Plane, state_name};
use crate::reader::{AUDIO_ONLY, PAUSED, PLAYING};
use crate::source::{Source, TrackIn};
use crate::{clock, lock};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::sync::atomic::Ordering;

/// Everything.
pub(super) fn totals<'py>(plane: &Plane, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
    let totals = &plane.hub().totals;
    let dict = PyDict::new(py);
    for (name, counter) in [
        ("packets_in", &totals.packets_in),
        ("bytes_in", &totals.bytes_in),
        ("packets_out", &totals.packets_out),
        ("bytes_out", &totals.bytes_out),
        ("foreign_packets", &totals.foreign_packets),
        ("malformed_packets", &totals.malformed_packets),
        ("send_errors", &totals.send_errors),
        ("events_lost", &plane.hub().events.lost),
    ] {
        dict.set_item(name, counter.load(Ordering::Relaxed))?;
    }
    let (readers, senders, connections) = plane.population();
    dict.set_item("readers", readers)?;
    dict.set_item("senders", senders)?;
    dict.set_item("connections", connections)?;
    Ok(dict)
}

/// A channel and its sources.
pub(super) fn channel<'py>(
    plane: &Plane,
    py: Python<'py>,
    channel: Id,
) -> PyResult<Bound<'py, PyDict>> {
    let cell = plane.cell(channel)?;
    let dict = PyDict::new(py);
    dict.set_item("readers", cell.readers.load(Ordering::Relaxed))?;
    dict.set_item("packets_out", cell.packets_out.load(Ordering::Relaxed))?;
    dict.set_item("bytes_out", cell.bytes_out.load(Ordering::Relaxed))?;
    let now = clock::now();
    let snapshot = py.detach(|| {
        plane.with_channel(channel, |channel| {
            let numbers = [
                ("packets", channel.packets),
                ("bytes", channel.bytes),
                ("rejected", channel.rejected),
                ("epoch", u64::from(channel.epoch)),
                ("ring_packets", channel.ring.len() as u64),
                ("ring_bytes", channel.ring.bytes() as u64),
                ("bitrate_bps", channel.bitrate(now)),
            ];
            (
                numbers,
                channel.numbered_here(),
                channel
                    .sources
                    .iter()
                    .map(|one| source_numbers(one, now))
                    .collect::<Vec<_>>(),
            )
        })
    })?;
    for (name, value) in snapshot.0 {
        dict.set_item(name, value)?;
    }
    dict.set_item("numbered_here", snapshot.1)?;
    let sources = PyList::empty(py);
    for source in snapshot.2 {
        let row = PyDict::new(py);
        row.set_item("state", source.state)?;
        row.set_item("priority", source.priority)?;
        for (name, value) in source.numbers {
            row.set_item(name, value)?;
        }
        let inputs = PyList::empty(py);
        for (id, packets, bytes) in source.inputs {
            let input = PyDict::new(py);
            input.set_item("input", id)?;
            input.set_item("packets", packets)?;
            input.set_item("bytes", bytes)?;
            inputs.append(input)?;
        }
        row.set_item("inputs", inputs)?;
        sources.append(row)?;
    }
    dict.set_item("sources", sources)?;
    Ok(dict)
}

/// A reader.
pub(super) fn reader<'py>(
    plane: &Plane,
    py: Python<'py>,
    reader: Id,
) -> PyResult<Bound<'py, PyDict>> {
    let shared = plane.reader(reader)?;
    let dict = PyDict::new(py);
    for (name, counter) in [
        ("packets", &shared.packets),
        ("bytes", &shared.bytes),
        ("dropped_video", &shared.dropped_video),
        ("dropped_audio", &shared.dropped_audio),
        ("send_errors", &shared.errors),
        ("rr_loss_permille", &shared.loss_permille),
        ("rr_jitter_us", &shared.jitter_us),
        ("estimate_bps", &shared.estimate),
    ] {
        dict.set_item(name, counter.load(Ordering::Relaxed))?;
    }
    dict.set_item("lag_ms", shared.lag_us.load(Ordering::Relaxed) / 1_000)?;
    let last = shared.last_report.load(Ordering::Relaxed);
    let age = (last > 0).then(|| (clock::now().saturating_sub(last) / 1_000) as i64);
    dict.set_item("last_rtcp_age_ms", age.unwrap_or(-1))?;
    let state = match shared.state.load(Ordering::Relaxed) {
        PLAYING => "playing",
        AUDIO_ONLY => "audio-only",
        PAUSED.. => "paused",
    };
    dict.set_item("state", state)?;
    dict.set_item("layer", lock(&shared.layer).as_str())?;
    Ok(dict)
}

struct SourceNumbers {
    state: &'static str,
    priority: i64,
    numbers: [(&'static str, i64); 8],
    inputs: Vec<(Id, u64, u64)>,
}

fn source_numbers(source: &Source, now: u64) -> SourceNumbers {
    // A track is numbered here or elsewhere; the other counter stays 0.
    let sum = |here: fn(&Numbering) -> u64, elsewhere: fn(&Seen) -> u64| {
        let of =
            |track: &TrackIn| here(&track.numbering) + track.seen.as_ref().map_or(0, elsewhere);
        source.tracks.iter().map(of).sum::<u64>() as i64
    };
    let jitter = source
        .tracks
        .iter()
        .map(|track| track.numbering.jitter_us())
        .max();
    let age = now.saturating_sub(source.last_packet) / 1_000;
    SourceNumbers {
        state: state_name(source.state),
        priority: source.priority,
        numbers: [
            ("source", source.id as i64),
            ("packets", sum(|one| one.received, |one| one.received)),
            ("lost", sum(Numbering::lost, Seen::lost)),
            (
                "duplicates",
                sum(|one| one.duplicates, |one| one.duplicates),
            ),
            ("reordered", sum(|one| one.reordered, |one| one.reordered)),
            (
                "rejected",
                source.rejected as i64 + sum(|one| one.rejected, |one| one.rejected),
            ),
            ("jitter_us", jitter.unwrap_or(0) as i64),
            (
                "last_packet_age_ms",
                if source.last_packet == 0 {
                    -1
                } else {
                    age as i64
                },
            ),
        ],
        inputs: source
            .inputs
            .iter()
            .map(|one| (one.id, one.packets, one.bytes))
            .collect(),
    }
}
