//! Work that goes at a client's pace: it sends or receives a stream, and stands still where the client does.
//!
//! It has threads of its own. On those for what blocks, some clients that read nothing would keep everybody else from the store. And it
//! ends when the client has stood still for long.

use gantry_core::{Error, ErrorKind, Result};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// How long a client may stand still.
const IDLE: Duration = Duration::from_secs(10 * 60);
/// Streams at once. Who comes later waits for one to end.
const MOST: usize = 256;
const STACK: usize = 1 << 20;

static PLACES: Semaphore = Semaphore::const_new(MOST);

/// Runs `work` on a thread of its own and waits for it. An error is one of ours: there was no place, no thread, or no result.
pub async fn run<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let place = match timeout(IDLE, PLACES.acquire()).await {
        Ok(place) => place.expect("nobody closes it"),
        Err(_) => {
            let text = format!("{MOST} streams are open already: end some of them");
            return Err(Error::new(ErrorKind::ResourceExhausted, text));
        }
    };
    let (done, outcome) = oneshot::channel();
    let thread = thread::Builder::new().name("stream".to_owned()).stack_size(STACK);
    let started = thread.spawn(move || {
        let _place = place;
        // Whoever asked may be gone.
        let _ = done.send(work());
    });
    started.map_err(|error| Error::internal(format!("start a thread for a stream: {error}")))?;
    outcome
        .await
        .map_err(|_| Error::internal("the work on a stream ended without a result (a bug, please report it)"))
}

/// The next piece of what a client sends; none at the end. It blocks: to be called in [`run`].
pub fn receive<T>(pieces: &mut mpsc::Receiver<T>) -> io::Result<Option<T>> {
    receive_within(pieces, IDLE)
}

fn receive_within<T>(pieces: &mut mpsc::Receiver<T>, idle: Duration) -> io::Result<Option<T>> {
    match pieces.try_recv() {
        Ok(piece) => Ok(Some(piece)),
        Err(TryRecvError::Disconnected) => Ok(None),
        Err(TryRecvError::Empty) => wait(pieces.recv(), idle).ok_or_else(|| stood_still("sent", idle)),
    }
}

/// Hands a piece to a client, when it takes it; one that went is a broken pipe. It blocks: to be called in [`run`].
pub fn send<T>(pieces: &mpsc::Sender<T>, piece: T) -> io::Result<()> {
    send_within(pieces, piece, IDLE)
}

fn send_within<T>(pieces: &mpsc::Sender<T>, piece: T, idle: Duration) -> io::Result<()> {
    let gone = || io::ErrorKind::BrokenPipe.into();
    match pieces.try_send(piece) {
        Ok(()) => Ok(()),
        Err(TrySendError::Closed(_)) => Err(gone()),
        Err(TrySendError::Full(piece)) => {
            let sent = wait(pieces.send(piece), idle).ok_or_else(|| stood_still("taken", idle))?;
            sent.map_err(|_| gone())
        }
    }
}

/// Waits on any thread: some work goes on in one that no runtime knows (a mount namespace has a thread of its own).
fn wait<F: Future>(future: F, idle: Duration) -> Option<F::Output> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    let end = Instant::now() + idle;
    loop {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(outcome);
        }
        let left = end.checked_duration_since(Instant::now())?;
        thread::park_timeout(left);
    }
}

fn stood_still(what: &str, idle: Duration) -> io::Error {
    let text = format!("the client has {what} nothing for {} s", idle.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_client_that_stands_still_is_given_up() {
        let (send, mut receive) = mpsc::channel::<u8>(1);
        let full = send.clone();
        let outcome = run(move || {
            send_within(&full, 1, SOON).unwrap();
            send_within(&full, 2, SOON).unwrap_err().kind()
        });
        assert_eq!(outcome.await.unwrap(), io::ErrorKind::TimedOut);
        let outcome = run(move || {
            assert_eq!(receive_within(&mut receive, SOON).unwrap(), Some(1));
            let error = receive_within(&mut receive, SOON).unwrap_err();
            drop(receive);
            error.kind()
        });
        assert_eq!(outcome.await.unwrap(), io::ErrorKind::TimedOut);
        let outcome = run(move || super::send(&send, 3).unwrap_err().kind());
        assert_eq!(outcome.await.unwrap(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn what_comes_late_is_still_taken_and_the_end_is_the_end() {
        let (send, mut receive) = mpsc::channel::<u8>(1);
        let reader = run(move || {
            let mut all = Vec::new();
            while let Some(piece) = super::receive(&mut receive).unwrap() {
                all.push(piece);
            }
            all
        });
        let writer = async {
            for piece in 0..5 {
                tokio::time::sleep(Duration::from_millis(2)).await;
                send.send(piece).await.unwrap();
            }
            drop(send);
        };
        let (all, ()) = tokio::join!(reader, writer);
        assert_eq!(all.unwrap(), [0, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn work_that_breaks_is_an_error() {
        let broken = run(|| -> () { panic!("on purpose") });
        assert_eq!(broken.await.unwrap_err().kind(), ErrorKind::Internal);
    }
}
