//! A publisher by WebRTC that sends keyframes on request only, and those who watch at another unit.

#[allow(dead_code)] // a part of it is used here
mod port_support;

use _plane::clock;
use _plane::mesh::link::Options;
use _plane::mesh::seal::Key;
use _plane::net::mesh::Terms;
use _plane::plane::Plane;
use _plane::ring::KEY;
use port_support::{Peer, Site, until};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn a_keyframe_wanted_at_another_unit_is_asked_of_the_publisher() {
    let mut site = Site::empty(LOCAL, LOCAL);
    let layers = ["l", "m", "h"];
    let mut publisher = Peer::publisher(&mut site, LOCAL, &layers);
    let (first, unit) = (&site.plane, Plane::new(1, 10_000).unwrap());
    let channel = unit.open_channel(first.with_channel(site.channel, |one| one.config).unwrap());
    let tracks = first.with_channel(site.channel, |channel| {
        let tracks = channel.sources[0].tracks.iter();
        tracks.map(|track| track.spec.clone()).collect()
    });
    let source = unit.add_mesh_source(channel, 0, tracks.unwrap()).unwrap();
    let input = unit.add_input(source).unwrap();
    let tap = unit.add_tap(channel, vec![0], false, 100_000).unwrap();
    unit.start_reader(tap);
    let any = SocketAddr::new(LOCAL, 0);
    let (port, _) = first.mesh_open(any, None).unwrap();
    let (other_port, number) = unit.mesh_open(any, None).unwrap();
    let terms = |keys: [u8; 2], peer: Option<SocketAddr>| Terms {
        options: Options {
            local: 1,
            remote: 1,
            send: Key::new(&[keys[0]; 16]).unwrap(),
            receive: Key::new(&[keys[1]; 16]).unwrap(),
            keepalive_us: 50_000,
            silence_us: 10_000_000,
        },
        peer,
        tcp: false,
        connect: peer.is_some(),
    };
    let there = unit.mesh_link(other_port, terms([1, 2], None)).unwrap();
    let here = first
        .mesh_link(port, terms([2, 1], Some(SocketAddr::new(LOCAL, number))))
        .unwrap();
    unit.mesh_take(other_port, there, 1, input).unwrap();
    first.mesh_serve(port, here, 1, site.channel, &[]).unwrap();
    let mut send = |what: &str, came: &mut dyn FnMut() -> bool| {
        until(what, || {
            publisher.send_layers(&layers);
            publisher.run(Duration::from_millis(10));
            came()
        });
    };
    let read = || unit.read_tap(tap, 100_000).unwrap().0;
    send("on air at the other unit", &mut || !read().is_empty());
    // What was asked for while it began is answered by now.
    let mut pictures = 0;
    send("pictures that are none", &mut || {
        let came = read();
        let key = came.iter().any(|item| item.flags & KEY != 0);
        pictures = if key { 0 } else { pictures + came.len() };
        pictures > 60
    });
    unit.hub().want_keyframe(channel, 0, clock::now());
    send("the keyframe", &mut || {
        read().iter().any(|item| item.flags & KEY != 0)
    });
}
