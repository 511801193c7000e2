//! The threads that run guests, and the tasks that look after them and after timers.
//!
//! There are as many threads as processors. One that a guest keeps busy for long is replaced while it is: a session that does
//! not come to an end delays nobody but itself.

use std::{sync::Arc, thread, time::Duration};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    house::House,
    queue::{STRAGGLES_AFTER, Task},
    turn::Scratch,
};

/// Most threads of one workload: a guest that is out of bounds is ended by its fuel within seconds, and this many at once
/// don't make the machine useless.
const THREADS_LIMIT: usize = 32;

/// Stack of a guest thread: the guest's, and the host's functions that it calls.
const STACK_BYTES: usize = 2 << 20;

/// How long a thread stays that replaced a busy one.
const RELIEF_STAYS: Duration = Duration::from_secs(5);

/// What runs a house. Dropping it sends the threads home.
pub(super) struct Staff {
    house: Arc<House>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Drop for Staff {
    fn drop(&mut self) {
        self.house.queue.end();
    }
}

/// Starts the threads and the tasks.
///
/// # Errors
/// The system has no more threads.
pub(super) fn start(house: &Arc<House>) -> std::io::Result<Staff> {
    let tasks = [tokio::spawn(relieve(house.clone())), tokio::spawn(ring(house.clone()))];
    let staff = Staff { house: house.clone(), _tasks: tasks.map(AbortOnDropHandle::new) };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..processors.min(THREADS_LIMIT) {
        spawn(house, None)?;
    }
    Ok(staff)
}

fn spawn(house: &Arc<House>, stays: Option<Duration>) -> std::io::Result<()> {
    if !house.queue.add_thread(THREADS_LIMIT) {
        return Ok(());
    }
    let (thread_house, handle) = (house.clone(), Handle::current());
    let run = move || {
        // What a guest is linked to may look for a runtime.
        let _entered = handle.enter();
        let mut scratch = Scratch::default();
        while let Some(begun) = thread_house.queue.next(stays) {
            match &begun.task {
                Task::Serve(session) => session.turn(&mut scratch),
                Task::Visit(round, session) => round.visit(session),
                Task::Crew(round) => round.finish(),
            }
            thread_house.queue.done(begun);
        }
    };
    let spawned = thread::Builder::new().name("session".to_owned()).stack_size(STACK_BYTES).spawn(run);
    spawned.map(drop).inspect_err(|_| house.queue.lose_thread())
}

/// Starts a thread whenever sessions wait and nothing moves.
async fn relieve(house: Arc<House>) {
    loop {
        house.queue.watch.notified().await;
        let mut before = house.queue.progress();
        loop {
            sleep(STRAGGLES_AFTER).await;
            let now = house.queue.progress();
            if now.waiting > 0
                && now.begun == before.begun
                && let Err(error) = spawn(&house, Some(RELIEF_STAYS))
            {
                tracing::warn!(workload = %house.name, %error, "a thread can't be started: sessions wait for busy ones");
            }
            before = now;
            if house.queue.unwatch() {
                break;
            }
        }
    }
}

/// Wakes sessions whose timers are due.
async fn ring(house: Arc<House>) {
    loop {
        let next = house.alarms.next();
        let due = next.map(|at| Instant::now() + at.since(house.clock.unix()));
        tokio::select! {
            () = house.alarms.earlier.notified() => {}
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                for session in house.alarms.due(house.clock.unix()) {
                    session.poke();
                }
            }
        }
    }
}
