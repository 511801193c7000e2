//! Clients of every host in one thread of their own, open-loop.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::mpsc,
};

/// Answers that are waited for at the end.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Clients that ask all the time.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    waited: Arc<Mutex<Vec<Duration>>>,
    thread: JoinHandle<bool>,
}

impl Clients {
    /// So many to each address, all of them together at this rate.
    pub(crate) fn connect(addresses: &[SocketAddr], each: usize, rate: u64) -> Self {
        let (stop, waited) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<_>>>::default());
        let all: Vec<_> = addresses.iter().flat_map(|address| std::iter::repeat_n(*address, each)).collect();
        let every = Duration::from_secs(1) * u32::try_from(all.len()).unwrap() / u32::try_from(rate).unwrap();
        let (stopping, told) = (stop.clone(), waited.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let clients: Vec<_> = all
                    .iter()
                    .enumerate()
                    .map(|(number, address)| {
                        // So that they do not all ask in the same moment.
                        let offset = every * u32::try_from(number).unwrap() / u32::try_from(all.len()).unwrap();
                        tokio::spawn(client(*address, offset, every, stopping.clone(), told.clone()))
                    })
                    .collect();
                let mut clean = true;
                for client in clients {
                    clean &= client.await.unwrap();
                }
                clean
            })
        });
        Self { stop, waited, thread }
    }

    pub(crate) fn forget(&self) {
        self.waited.lock().unwrap().clear();
    }

    /// How long each line waited that was answered since [`forget`](Self::forget).
    pub(crate) fn waited_ms(&self) -> Vec<f64> {
        self.waited.lock().unwrap().iter().map(|waited| waited.as_secs_f64() * 1e3).collect()
    }

    /// Ends them; whether every line was answered, once and in order.
    pub(crate) fn end(self) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Asks `incr` at its moments. The totals of a host must rise: with two clients on it, by at least one from answer to answer.
async fn client(
    address: SocketAddr,
    offset: Duration,
    every: Duration,
    stop: Arc<AtomicBool>,
    told: Arc<Mutex<Vec<Duration>>>,
) -> bool {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (read, mut write) = stream.into_split();
    let (due, mut dues) = mpsc::channel::<Instant>(100_000);
    let reader = tokio::spawn(async move {
        let (mut lines, mut last) = (BufReader::new(read).lines(), 0);
        while let Some(due) = dues.recv().await {
            let Ok(Ok(Some(line))) = tokio::time::timeout(END_LIMIT, lines.next_line()).await else { return false };
            let total = line.split(' ').nth(1).and_then(|total| total.parse::<u64>().ok());
            let Some(total) = total.filter(|total| *total > last) else { return false };
            last = total;
            told.lock().unwrap().push(due.elapsed());
        }
        true
    });
    let mut next = tokio::time::Instant::now() + offset;
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep_until(next).await;
        if write.write_all(b"incr\n").await.is_err() || due.send(next.into_std()).await.is_err() {
            return false;
        }
        next += every;
    }
    drop(due);
    reader.await.unwrap()
}
