//! The thread on which a workload with one instance lives: its actor, its listeners, its connections.
//!
//! On a runtime of many threads a connection's task and the actor that it wakes are mostly on different ones, and each message
//! costs a wake-up between processors: more than the call into the guest (docs/decisions/0011). On one thread it costs none.
//! The kernel shares the processors among the workloads, so that one that computes without end does not hold up another.

use std::{io, thread, time::Duration};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    time::timeout,
};
use tokio_util::task::TaskTracker;

/// How long connections may take over their last bytes when the actor is gone. Each has its own limit, which is shorter.
const LAST_BYTES: Duration = Duration::from_secs(10);

/// The kernel takes no longer names.
const THREAD_NAME_LIMIT: usize = 15;

/// A thread that waits for an actor.
pub(crate) struct Lane {
    /// Where its tasks are spawned.
    pub(crate) handle: Handle,
    /// Its tasks besides the actor.
    pub(crate) tasks: TaskTracker,
    /// Goes with the actor.
    over: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Lane {
    /// Begins one.
    ///
    /// # Errors
    /// When the system gives no thread, or no descriptors for what wakes it.
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, tasks) = (runtime.handle().clone(), TaskTracker::new());
        let ((over, gone), (end, ended)) = (oneshot::channel::<()>(), oneshot::channel());
        let last = tasks.clone();
        let name = name.chars().take(THREAD_NAME_LIMIT).collect();
        thread::Builder::new().name(name).spawn(move || {
            runtime.block_on(async {
                drop(gone.await);
                last.close();
                drop(timeout(LAST_BYTES, last.wait()).await);
            });
            drop((runtime, end));
        })?;
        Ok(Self { handle, tasks, over, ended })
    }

    /// Lets the actor run. What is given resolves, with an error, when the actor has ended, and the thread after it.
    pub(crate) fn run(self, actor: impl Future<Output = ()> + Send + 'static) -> oneshot::Receiver<()> {
        let Self { handle, over, ended, .. } = self;
        handle.spawn(async move {
            actor.await;
            drop(over);
        });
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lane_has_a_thread_of_its_own_and_ends_after_its_last_task() {
        let lane = Lane::start("a-workload-with-a-long-name").expect("a thread");
        let (here, tasks) = (thread::current().id(), lane.tasks.clone());
        let (last, finish) = oneshot::channel::<()>();
        let (seen, there) = oneshot::channel();
        let mut ended = lane.run(async move {
            assert!(seen.send(thread::current().id()).is_ok());
            tasks.spawn(async move { drop(finish.await) });
        });
        assert_ne!(there.await.expect("the actor ran"), here);
        assert!(ended.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty), "a task is left");
        drop(last);
        assert!(ended.await.is_err(), "its thread is gone");
    }
}
