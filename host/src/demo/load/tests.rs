//! The load generator against servers that are faithful, and some that are not.

use std::sync::atomic::AtomicU64;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};

use super::*;

/// What a server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Does not answer the hundredth line.
    Loses,
    /// Answers the hundredth line twice.
    Doubles,
    /// Closes a connection at the hundredth line.
    Drops,
    /// Does nothing for 100 ms after the hundredth line.
    Pauses,
}

/// Counts lines as the example workload does.
async fn server(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    // Its own thread, as a host is its own process.
    std::thread::spawn(move || {
        let listener = listener.into_std().expect("registered");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("not blocking");
            let total = Arc::new(AtomicU64::new(0));
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&total), fault));
            }
        });
    });
    address
}

async fn serve(mut stream: tokio::net::TcpStream, total: Arc<AtomicU64>, fault: Fault) {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(_)) = lines.next_line().await {
        let total = total.fetch_add(1, Ordering::Relaxed) + 1;
        let answer = format!("1.0.0 {total}\n");
        let times = match fault {
            Fault::Loses if total == 100 => 0,
            Fault::Doubles if total == 100 => 2,
            Fault::Drops if total == 100 => return,
            Fault::Pauses if total == 100 => {
                std::thread::sleep(Duration::from_millis(100));
                1
            }
            _ => 1,
        };
        if write.write_all(answer.repeat(times).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Runs 20 connections against such a server for 300 ms.
async fn run(fault: Fault) -> (Tally, u64, Vec<Sample>) {
    let version = Expected { version: "1.0.0".to_owned(), counts_mine: false };
    let load = Load::start(server(fault).await, 20, 5_000, version).await.expect("20 connections");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let shared = Arc::clone(&load.shared);
    let (tally, open) = load.finish(Duration::from_secs(1)).await.expect("an end");
    let samples = shared.books().samples.take();
    (tally, open, samples)
}

#[test]
fn a_line_is_due_on_the_grid_and_never_before_its_turn() {
    for rate in [1, 999, 1_000, 3_000, 20_000, 1_000_000] {
        let schedule = Schedule { lines_per_second: rate, connections: 7 };
        for number in [0, 1, 2, 19, 20, 21, 12_345] {
            let due = schedule.due_at(number);
            assert_eq!(due.as_nanos() % TICK.as_nanos(), 0);
            assert!(schedule.due_by(due) > number, "line {number} at {rate}/s is sent when it is due");
            if let Some(before) = due.checked_sub(TICK) {
                assert!(schedule.due_by(before) <= number, "line {number} at {rate}/s is not sent before");
            }
        }
    }
}

#[tokio::test]
async fn a_faithful_server_comes_out_clean() {
    let (tally, open, samples) = run(Fault::None).await;
    assert!(tally.is_clean(), "{tally:?}");
    assert!(tally.sent > 1_000, "{tally:?}");
    assert_eq!((open, tally.answered, samples.len() as u64), (20, tally.sent, tally.sent));
}

#[tokio::test]
async fn a_lost_line_comes_out() {
    let (tally, open, _) = run(Fault::Loses).await;
    assert_eq!((tally.lost, tally.doubled, open), (1, 0, 20), "{tally:?}");
}

#[tokio::test]
async fn a_doubled_line_comes_out() {
    let (tally, ..) = run(Fault::Doubles).await;
    assert_eq!((tally.lost, tally.doubled), (0, 1), "{tally:?}");
}

#[tokio::test]
async fn a_dropped_connection_comes_out() {
    let (tally, open, _) = run(Fault::Drops).await;
    assert_eq!((tally.dropped, open), (1, 19), "{tally:?}");
    assert!(!tally.is_clean());
}

#[tokio::test]
async fn a_pause_shows_in_every_line_that_was_due_meanwhile() {
    let (tally, _, samples) = run(Fault::Pauses).await;
    assert!(tally.is_clean(), "{tally:?}");
    let slow = samples.iter().filter(|sample| sample.took > Duration::from_millis(50)).count();
    // 5 000 lines/s: 250 were due in the first half of the 100 ms, and each waited for more than 50.
    assert!(slow >= 200, "only {slow} lines show the pause");
}

#[tokio::test]
async fn no_answer_is_faster_than_loopback() {
    let (tally, _, samples) = run(Fault::None).await;
    assert_eq!(samples.len() as u64, tally.sent);
    let latencies = Latencies::of(samples.iter().map(|sample| sample.took)).expect("a histogram");
    let fastest = samples.iter().map(|sample| sample.took).min().expect("a line");
    assert!(fastest > Duration::from_micros(5), "an answer after {fastest:?}");
    assert!(latencies.quantile(0.5) >= fastest && latencies.max() >= latencies.quantile(0.99), "{latencies:?}");
}

#[test]
fn the_lines_are_dealt_out_in_turn() {
    let schedule = Schedule { lines_per_second: 1_000, connections: 7 };
    for due in [0, 1, 6, 7, 8, 20, 21] {
        let shares: Vec<u64> = (0..7).map(|connection| schedule.share_of(connection, due)).collect();
        assert_eq!(shares.iter().sum::<u64>(), due);
        for (connection, share) in (0..).zip(shares) {
            let last = share.checked_sub(1).map(|nth| schedule.number_of(connection, nth));
            assert!(last.is_none_or(|number| number < due) && schedule.number_of(connection, share) >= due);
        }
    }
}

#[tokio::test]
async fn what_was_due_before_a_pause_is_waited_for() {
    let version = Expected { version: "1.0.0".to_owned(), counts_mine: false };
    let load = Load::start(server(Fault::Pauses).await, 20, 5_000, version).await.expect("20 connections");
    let until = Duration::from_millis(100);
    while !load.is_answered_until(until) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(load.now() >= until, "nothing is answered that was not due");
    let due = load.take_samples().iter().filter(|sample| sample.due <= until).count();
    assert_eq!(due, 501);
}
