//! Who feeds the channel: sources come and go, fall silent, and the best that is ready is relayed.

use super::{Channel, TrackOut};
use crate::event::{Event, Id};
use crate::media::TrackSpec;
use crate::source::{InputStats, Pending, Source, State};
use std::collections::VecDeque;

impl Channel {
    /// Announces a source.
    pub fn add_source(&mut self, id: Id, priority: i64, tracks: Vec<TrackSpec>) {
        self.sources.push(Source::new(id, priority, tracks));
    }

    /// Takes a source away; the next best takes over.
    pub fn remove_source(&mut self, id: Id, now: u64) {
        let before = self.sources.len();
        self.sources.retain(|source| source.id != id);
        if before != self.sources.len() && self.active == Some(id) {
            self.active = None;
            self.choose(now);
        }
    }

    /// Adds a way by which a source's packets come.
    pub fn add_input(&mut self, source: Id, input: Id) {
        if let Some(source) = self.source(source) {
            source.inputs.push(InputStats {
                id: input,
                ..InputStats::default()
            });
        }
    }

    /// Takes it away.
    pub fn remove_input(&mut self, source: Id, input: Id) {
        if let Some(source) = self.source(source) {
            source.inputs.retain(|known| known.id != input);
        }
    }

    /// A source that is not relayed has delivered: is it its turn?
    pub(super) fn consider(&mut self, at: usize, now: u64) {
        let source = &self.sources[at];
        if !source.ready(now) {
            return;
        }
        let turn = match self.active.and_then(|id| self.index(id)) {
            None => true,
            Some(active) => {
                self.sources[active].priority > source.priority
                    && self.config.return_us.is_some_and(|well| {
                        now.saturating_sub(source.well_since) >= well && source.at_key(now)
                    })
            }
        };
        if turn {
            self.activate(at);
        }
    }

    /// Lets the best source that is ready feed the channel, or says that there is none.
    fn choose(&mut self, now: u64) {
        let best = (0..self.sources.len())
            .filter(|at| self.sources[*at].ready(now))
            .min_by_key(|at| (self.sources[*at].priority, self.sources[*at].id));
        match best {
            Some(at) => self.activate(at),
            None => self.events.push(Event::ChannelSilent { channel: self.id }),
        }
    }

    fn activate(&mut self, at: usize) {
        if let Some(before) = self.active.and_then(|id| self.index(id)) {
            self.sources[before].stand_by();
        }
        let id = self.sources[at].id;
        let own = !self.foreign && self.claimed <= self.epoch;
        for source in &mut self.sources {
            if source.id != id || !own {
                source.succeeded();
            }
        }
        if let Some(pending) = self.sources[at].resume() {
            self.active = Some(id);
            self.events.push(Event::SourceActive {
                channel: self.id,
                source: id,
                epoch: self.epoch,
                layout_changed: false,
            });
            self.relay_kept(at, pending);
            return;
        }
        if self.sources[at].numbered.is_some() {
            self.activate_numbered(at);
            return;
        }
        self.epoch = self.succeed();
        let source = &mut self.sources[at];
        self.active = Some(source.id);
        let pending = source.activate();
        let source_id = source.id;
        let layout_changed = self.adopt_layout(at);
        self.events.push(Event::SourceActive {
            channel: self.id,
            source: source_id,
            epoch: self.epoch,
            layout_changed,
        });
        self.relay_kept(at, pending);
    }

    fn relay_kept(&mut self, at: usize, pending: VecDeque<Pending>) {
        for packet in pending {
            self.relay(
                at,
                packet.track,
                packet.number,
                packet.key,
                &packet.data,
                packet.arrival,
            );
        }
        self.wake_taps();
    }

    /// Makes the readers' tracks those of the source; `true` when readers must learn them anew.
    pub(super) fn adopt_layout(&mut self, at: usize) -> bool {
        let tracks: Vec<TrackSpec> = self.sources[at]
            .tracks
            .iter()
            .map(|track| track.spec.clone())
            .collect();
        let same = self.layout.len() == tracks.len()
            && self
                .layout
                .iter()
                .zip(&tracks)
                .all(|(out, spec)| out.spec.same_format(spec));
        let first = self.layout.is_empty();
        let fresh = std::mem::take(&mut self.layout);
        let mut known: Vec<TrackOut> = fresh;
        for spec in &tracks {
            let old = known.iter().position(|out| out.spec.same_format(spec));
            let mut out = old.map_or_else(|| TrackOut::new(spec), |at| known.swap_remove(at));
            out.spec.parameter_sets.clone_from(&spec.parameter_sets);
            self.layout.push(out);
        }
        if !same {
            self.ring.forget_key();
        }
        if self.frames.is_some() {
            // Parameter sets may differ even where the format does not: the log starts anew.
            if same {
                if let Some(frames) = &mut self.frames {
                    frames.set_parameter_sets(&tracks);
                }
            } else {
                self.rebuild_frames();
            }
        }
        !same && !first
    }

    /// Tells of sources that say nothing any more; another takes over.
    pub(super) fn notice_silence(&mut self, now: u64) {
        for at in 0..self.sources.len() {
            let source = &mut self.sources[at];
            let silent = source.state != State::Silent
                && now.saturating_sub(source.last_packet) >= self.config.silence_us;
            if silent {
                source.fall_silent();
                let source = source.id;
                self.events.push(Event::SourceSilent {
                    channel: self.id,
                    source,
                });
                if self.active == Some(source) {
                    self.active = None;
                    self.choose(now);
                    if self.active.is_none() {
                        self.sources[at].pause();
                    }
                }
            }
        }
        if self.active.is_none() && self.sources.iter().any(|source| source.ready(now)) {
            self.choose(now);
        }
    }
}
