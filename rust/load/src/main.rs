//! Load for measuring a live relay: RTSP readers, a publisher whose packets say when they were
//! sent, and the bare relay loops that show what the kernel alone costs.
//!
//! Every sub-command runs in one thread, prints events and then one result as JSON lines, and is
//! bounded in time.

mod args;
mod blast;
mod due;
mod floor;
mod floor_srtp;
mod http;
mod json;
mod media;
mod peer;
mod publish;
mod readers;
mod rtsp;
mod sentlog;
mod srtp;
mod stamp;
mod stats;
mod sys;
mod tally;
mod titles;
mod track;
mod twcc;
mod whep;
mod whip;
mod window;

use std::process::ExitCode;

const USAGE: &str = "\
helio-load COMMAND [--option value …]
  rtsp-readers --url URL[,URL…] --count N --transport udp|tcp --seconds S [--settle S] [--ramp READERS/S]
               [--slow K] [--sources ADDRESSES] [--setup-timeout S] [--first-port P] [--client ADDRESS]
               [--due [--length S] [--late-us N] [--supported TAG] [--record FILE] [--check FILE]]
  publish      --url rtsp://user:pass@host:port/name | udp://host:port [--transport tcp|udp]
               [--kind video|audio] [--file CLIP.h264|pattern] [--bitrate B] [--fps F]
               [--idr-factor K] [--packets-per-frame N] [--seconds S] [--log FILE]
  whep-viewers --url http://host:port/whep/name --count N --seconds S [--settle S] [--log FILE]
               [--ramp VIEWERS/S] [--feedback transport|none] [--sources ADDRESSES] [--key KEY]
               [--setup-timeout S] | --plain --first-port P
  whip-publish --url http://host:port/whip/name --key KEY [--bitrate B] [--fps F] [--seconds S]
               [--log FILE]
  floor-srtp   --rtp-port P --ready-port P --dests N --first-port P [--key-bits 128|256]
               [--mode sendmmsg|segment] [--seconds S]
  floor        --rtsp-port P --rtp-port P --mode sendto|sendmmsg|segment [--kind video|audio]
               [--interval-ms N] [--files N] [--seconds S]
  udp-blast    --dests N --burst N --mode sendto|sendmmsg|segment --seconds S [--first-port P]
  sink         --count N --seconds S [--first-port P]
  tcp-idle     --url rtsp://host:port --count N --seconds S [--sources ADDRESSES]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = words.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let result = args::Args::parse(rest).and_then(|args| match command.as_str() {
        "rtsp-readers" => readers::run(&args),
        "publish" => publish::run(&args),
        "whep-viewers" => whep::run(&args),
        "whip-publish" => whip::run(&args),
        "floor" => floor::run(&args),
        "floor-srtp" => floor_srtp::run(&args),
        "udp-blast" => blast::blast(&args),
        "sink" => blast::sink(&args),
        "tcp-idle" => blast::idle(&args),
        _ => Err(format!("no command {command:?}\n{USAGE}")),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("helio-load: {message}");
            ExitCode::FAILURE
        }
    }
}
