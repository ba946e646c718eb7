//! Which path a peer wants, by what it says and by what it does.

mod webrtc_support;

use _plane::webrtc::session::Transport;
use _plane::webrtc::shard::Event;
use webrtc_support::{GOOD, SECOND, World, view_options};

fn connects(transport: Transport, undecided: bool) -> bool {
    let mut world = World::new(GOOD);
    world.transport = transport;
    world.undecided = undecided;
    let n = world.viewer(5, &view_options(&[0], None));
    world.run(SECOND);
    let connected = |event: &Event| matches!(event, Event::Connected(5));
    world.clients[n].connected && world.events.iter().any(connected)
}

#[test]
fn a_handshake_is_answered_before_a_path_is_nominated() {
    for transport in [Transport::Udp, Transport::Tcp] {
        assert!(connects(transport, true), "{transport:?}");
        assert!(connects(transport, false), "{transport:?}");
    }
}
