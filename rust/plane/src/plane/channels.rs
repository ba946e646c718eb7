//! Channels: opening, closing, and what is asked of one.

use super::{ChannelCell, Gone, Plane};
use crate::channel::{Channel, Config};
use crate::clock;
use crate::event::{Event, Id};
use crate::lock;
use std::sync::Arc;

impl Plane {
    /// Opens a channel.
    pub fn open_channel(&self, config: Config) -> Id {
        let id = self.hub.id();
        let cell = Arc::new(ChannelCell::new(id, config, self.hub.workers.len()));
        lock(&self.hub.tables).channels.insert(id, cell);
        id
    }

    /// Closes it; its readers are told.
    pub fn close_channel(&self, id: Id) {
        let (cell, readers) = {
            let mut tables = lock(&self.hub.tables);
            let Some(cell) = tables.channels.remove(&id) else {
                return;
            };
            let sources: Vec<Id> = tables
                .sources
                .iter()
                .filter(|(_, of)| **of == id)
                .map(|(id, _)| *id)
                .collect();
            for source in sources {
                tables.forget_source(source);
            }
            let readers: Vec<Id> = tables
                .readers
                .values()
                .filter(|reader| reader.cell.id == id)
                .map(|reader| reader.id)
                .collect();
            (cell, readers)
        };
        let inputs: Vec<Id> = lock(&cell.state)
            .sources
            .iter()
            .flat_map(|source| source.inputs.iter().map(|input| input.id))
            .collect();
        for input in inputs {
            self.detach(input);
        }
        for reader in readers {
            self.remove_reader(reader);
            self.hub.events.push(Event::ReaderClosed {
                reader,
                reason: "channel",
            });
        }
    }

    /// A channel by its id.
    pub fn cell(&self, id: Id) -> Result<Arc<ChannelCell>, Gone> {
        lock(&self.hub.tables)
            .channels
            .get(&id)
            .cloned()
            .ok_or(Gone(id))
    }

    /// The newest whole key access unit of a video track.
    pub fn keyframe(&self, channel: Id, track: u8) -> Result<Option<Vec<u8>>, Gone> {
        let cell = self.cell(channel)?;
        let keyframe = lock(&cell.state).keyframe(track);
        Ok(keyframe)
    }

    /// Somebody needs a keyframe of a track: whoever feeds it is asked, if that can be.
    pub fn want_keyframe(&self, channel: Id, track: u8) {
        self.hub.want_keyframe(channel, track, clock::now());
    }

    /// A channel's numbers, by way of its locked state.
    pub fn with_channel<T>(&self, id: Id, look: impl FnOnce(&mut Channel) -> T) -> Result<T, Gone> {
        let cell = self.cell(id)?;
        let mut channel = lock(&cell.state);
        Ok(look(&mut channel))
    }
}
