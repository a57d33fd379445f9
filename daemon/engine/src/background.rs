//! Work that nobody waits for: files of what is recorded as gone are deleted here, beside everything else.
//!
//! What is handed over must be found again at the next start, for a kill drops it. Whatever fails is tried again, until it
//! is done or the daemon ends.

use crate::gate::blocking;
use gantry_core::Result;
use parking_lot::Mutex;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;

/// Jobs that wait; who has one more waits with it.
const QUEUE: usize = 64;
/// Jobs at a time.
const AT_ONCE: usize = 4;
/// Failed jobs that are tried again; what fails beyond that is left for the next start.
const FAILED: usize = 1024;
/// First and longest pause between two tries of a job.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// Something to be done, as often as it takes.
pub(crate) struct Job {
    what: String,
    work: Arc<dyn Fn() -> Result<()> + Send + Sync>,
    /// Before the next try, should this one fail.
    pause: Duration,
}

impl Job {
    /// `what` says in the log what could not be done.
    pub(crate) fn new(what: impl Into<String>, work: impl Fn() -> Result<()> + Send + Sync + 'static) -> Self {
        Self {
            what: what.into(),
            work: Arc::new(work),
            pause: RETRY_FIRST,
        }
    }

    /// Itself back, if it is to be tried again.
    async fn run(self) -> Option<Self> {
        let work = self.work.clone();
        let error = blocking(move || work()).await.err()?;
        warn!(err = %error, "{} failed; it is tried again in {} s", self.what, self.pause.as_secs());
        Some(self)
    }
}

pub(crate) struct Background {
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Background {
    /// Must be called within the runtime.
    pub(crate) fn new() -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        Self {
            queue: Mutex::new(Some(queue)),
            worker: Mutex::new(Some(tokio::spawn(serve(jobs)))),
        }
    }

    /// Hands a job over; waits only while too many do. After [`Background::close`] it is left for the next start.
    pub(crate) async fn hand(&self, job: Job) {
        let queue = self.queue.lock().clone();
        if let Some(queue) = queue {
            // The worker ends only when it is closed.
            let _ = queue.send(job).await;
        }
    }

    /// Takes no more, and waits until what was handed over is done, or has failed once more.
    pub(crate) async fn close(&self, limit: Duration) {
        drop(self.queue.lock().take());
        let worker = self.worker.lock().take();
        if let Some(worker) = worker
            && timeout(limit, worker).await.is_err()
        {
            warn!("not everything that was removed is deleted yet; the next start does it");
        }
    }
}

async fn serve(mut jobs: mpsc::Receiver<Job>) {
    let mut running = JoinSet::new();
    let mut failed: Vec<(Instant, Job)> = Vec::new();
    loop {
        let free = running.len() < AT_ONCE;
        let due = failed.iter().map(|(due, _)| *due).min();
        let retry = async move {
            match due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        };
        tokio::select! {
            job = jobs.recv(), if free => match job {
                Some(job) => drop(running.spawn(job.run())),
                None => break,
            },
            Some(done) = running.join_next() => put_back(&mut failed, done.ok().flatten()),
            () = retry, if free => {
                let now = Instant::now();
                if let Some(at) = failed.iter().position(|(due, _)| *due <= now) {
                    running.spawn(failed.swap_remove(at).1.run());
                }
            }
        }
    }
    for (_, job) in failed {
        running.spawn(job.run());
    }
    while running.join_next().await.is_some() {}
}

fn put_back(failed: &mut Vec<(Instant, Job)>, job: Option<Job>) {
    let Some(mut job) = job else { return };
    if failed.len() < FAILED {
        let due = Instant::now() + job.pause;
        job.pause = (job.pause * 2).min(RETRY_LONGEST);
        failed.push((due, job));
    } else {
        warn!("{} is left for the next start: too much else waits", job.what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_core::Error;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn all_is_done_by_the_end() {
        let background = Background::new();
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..200 {
            let done = done.clone();
            let job = Job::new("counting", move || {
                done.fetch_add(1, Ordering::SeqCst);
                Ok(())
            });
            background.hand(job).await;
        }
        background.close(Duration::from_secs(10)).await;
        assert_eq!(done.load(Ordering::SeqCst), 200);
    }

    #[tokio::test]
    async fn what_fails_is_tried_again() {
        let background = Background::new();
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = tries.clone();
        let job = Job::new("trying", move || match counted.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Error::internal("not yet")),
            _ => Ok(()),
        });
        background.hand(job).await;
        let begun = Instant::now();
        while tries.load(Ordering::SeqCst) < 2 {
            assert!(begun.elapsed() < Duration::from_secs(10), "it is not tried again");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(begun.elapsed() >= RETRY_FIRST / 2, "without a pause");
        background.close(Duration::from_secs(10)).await;
        assert_eq!(tries.load(Ordering::SeqCst), 2);
    }
}
