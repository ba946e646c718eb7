//! Rubbish on the HTTPS port: nothing panics, nothing is left behind, whoever is connected stays.

mod tls_support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tls_support::{Client, Site, session, until};

struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.roll() % n as u64) as usize
    }
}

/// The first bytes of a good client.
fn hello(site: &Site) -> Vec<u8> {
    let mut bytes = Vec::new();
    session(&site.certificate.der)
        .write_tls(&mut bytes)
        .unwrap();
    bytes
}

fn mutate(data: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        let length = data.len().max(1);
        match dice.below(6) {
            0 => {
                let at = dice.below(length);
                if let Some(byte) = data.get_mut(at) {
                    *byte = dice.roll() as u8;
                }
            }
            // Lengths stand in the head and before each extension.
            1 => {
                let at = dice.below(length.min(50));
                if let Some(byte) = data.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            2 => {
                let at = dice.below(length.saturating_sub(1).max(1));
                if let Some(two) = data.get_mut(at..at + 2) {
                    two.fill(0xff);
                }
            }
            3 => data.truncate(dice.below(length)),
            4 => {
                let from = dice.below(length);
                let copy = data[from.min(data.len())..].to_vec();
                data.extend_from_slice(&copy);
            }
            _ => data.extend((0..dice.below(200)).map(|_| 0x5a)),
        }
    }
    data.truncate(20_000);
}

fn echo(client: &mut Client, plain: &mut std::os::unix::net::UnixStream) {
    client.write_all(b"still there?").unwrap();
    let mut got = [0; 12];
    plain.read_exact(&mut got).unwrap();
    plain.write_all(&got).unwrap();
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"still there?");
}

#[test]
fn ten_thousand_mutated_greetings_end_nothing() {
    let site = Site::new();
    let (mut client, mut plain) = site.client();
    plain.set_nonblocking(false).unwrap();
    let mut dice = Dice(0x5eed_1234_5678_9abc);
    let mut waiting: Vec<TcpStream> = Vec::new();
    for round in 0..10_000 {
        let mut data = hello(&site);
        mutate(&mut data, &mut dice);
        let mut socket = site.connect();
        // It may be refused before all of it is written.
        let _ = socket.write_all(&data);
        let _ = socket.shutdown(Shutdown::Write);
        waiting.push(socket);
        if waiting.len() == 32 {
            for mut socket in waiting.drain(..) {
                let mut answer = Vec::new();
                let _ = socket.read_to_end(&mut answer); // ended or reset; never left open
            }
        }
        if round % 1_000 == 0 {
            echo(&mut client, &mut plain);
        }
    }
    drop(waiting);
    echo(&mut client, &mut plain);
    site.client();
    until("only those who are here are known", || {
        site.port.open.load(Ordering::Relaxed) <= 2
            && site.port.shaking.load(Ordering::Relaxed) == 0
    });
    let failed = site.port.counters.failed.load(Ordering::Relaxed);
    assert!(failed > 1_000, "{failed} failed");
}

#[test]
fn records_that_were_changed_end_their_connection_only() {
    let site = Site::new();
    let (mut client, mut plain) = site.client();
    plain.set_nonblocking(false).unwrap();
    let mut dice = Dice(77);
    for _ in 0..100 {
        let (mut bad, mut end) = site.client();
        end.set_nonblocking(false).unwrap();
        end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        bad.conn
            .writer()
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .unwrap();
        let mut record = Vec::new();
        bad.conn.write_tls(&mut record).unwrap();
        let at = 5 + dice.below(record.len() - 5);
        record[at] ^= 1 << dice.below(8);
        bad.sock.write_all(&record).unwrap();
        assert_eq!(
            end.read(&mut [0; 100]).unwrap(),
            0,
            "nothing of it is let through"
        );
        let mut told = Vec::new();
        let _ = bad.sock.read_to_end(&mut told);
    }
    until("all are counted", || {
        site.port.counters.failed.load(Ordering::Relaxed) == 100
    });
    echo(&mut client, &mut plain);
}

#[test]
fn noise_and_early_ends_are_survived() {
    let site = Site::new();
    let mut dice = Dice(3);
    for round in 0..2_000 {
        let mut socket = site.connect();
        let noise: Vec<u8> = (0..dice.below(300)).map(|_| dice.roll() as u8).collect();
        let _ = socket.write_all(&noise);
        let _ = socket.shutdown(Shutdown::Write);
        if round % 4 == 0 {
            let _ = socket.read_to_end(&mut Vec::new());
        }
    }
    until("all are gone", || {
        site.port.open.load(Ordering::Relaxed) == 0
    });
    site.client();
}
