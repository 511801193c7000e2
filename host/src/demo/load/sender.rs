//! The thread that sends.

use std::{sync::atomic::Ordering, time::Instant};

use super::{Shared, TICK, connection::Written};

/// Sends what is due, tick by tick, until the stop; then what the system did not take yet.
///
/// A thread and not a task: it sleeps to the tick with the system's precision, and no reader delays it.
pub(super) fn run(shared: &Shared) {
    let connections = shared.schedule.connections;
    // Connections whose socket was full. Each is in it once at most.
    let mut waiting: Vec<usize> = Vec::new();
    let mut next = 0;
    let mut tick = 0_u32;
    while !shared.finish.is_cancelled() {
        tick = sleep_until_tick(shared.started, tick);
        waiting.retain(|index| shared.connections.get(*index).is_some_and(|one| one.write() == Written::Some));
        if shared.stop.load(Ordering::Acquire) {
            continue;
        }
        let due = shared.schedule.due_by(TICK * tick);
        shared.due.store(due, Ordering::Release);
        for number in next..due {
            let Ok(index) = usize::try_from(number % connections) else { continue };
            let Some(connection) = shared.connections.get(index) else { continue };
            connection.line_is_due();
            if connection.write() == Written::Some && !waiting.contains(&index) {
                waiting.push(index);
            }
        }
        next = due;
    }
}

/// Sleeps to the next tick after `last`, or past as many as went by; gives the tick it is.
fn sleep_until_tick(started: Instant, last: u32) -> u32 {
    let ticks_since =
        |started: Instant| u32::try_from(started.elapsed().as_nanos() / TICK.as_nanos()).unwrap_or(u32::MAX);
    let next = last.saturating_add(1);
    if ticks_since(started) < next {
        std::thread::sleep((TICK * next).saturating_sub(started.elapsed()));
    }
    next.max(ticks_since(started))
}
