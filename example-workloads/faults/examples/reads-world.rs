//! On the line `world` it answers, in one line, what it can see beside its events.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Instant, SystemTime};

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Instance};

/// What there was, or the kind of the error, in one word.
fn said(result: io::Result<String>) -> String {
    result.unwrap_or_else(|error| format!("{:?}", error.kind()))
}

struct ReadsWorld;

impl Fault for ReadsWorld {
    type Inner = Counter;

    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        if line != "world" {
            return Taken::No;
        }
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let started = Instant::now();
        faults::burn(1_000_000);
        let seen = [
            format!("env={}", std::env::vars().count()),
            format!("args={}", std::env::args().count()),
            format!("dir={}", said(std::env::current_dir().map(|path| path.display().to_string()))),
            format!("files={}", said(std::fs::read_dir("/").map(|entries| entries.count().to_string()))),
            format!("write={}", said(std::fs::write("/tmp/seen", "x").map(|()| "yes".to_owned()))),
            format!("unix={}", unix.as_nanos()),
            format!("passed={}", started.elapsed().as_nanos()),
            // The standard maps seed themselves from the host's random source.
            format!("random={:x}", RandomState::new().hash_one("seed")),
            format!("connect={}", said(TcpStream::connect("127.0.0.1:9").map(|_| "yes".to_owned()))),
            format!("listen={}", said(TcpListener::bind("127.0.0.1:0").map(|_| "yes".to_owned()))),
            format!("udp={}", said(UdpSocket::bind("127.0.0.1:0").map(|_| "yes".to_owned()))),
            format!("now={}", out.now().as_nanos()),
        ];
        out.send(connection, format!("1.0.0 world {}\n", seen.join(" ")));
        Taken::Yes
    }
}

faults::fault!(ReadsWorld);
