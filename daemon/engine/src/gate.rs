//! The one gate to blocking work: store calls, files, mounts.

use gantry_core::{Error, Result};
use std::convert::Infallible;
use tokio::sync::mpsc;

/// Runs `work` where blocking is allowed and waits for it.
pub async fn blocking<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(join) => Err(Error::internal(format!("blocking work ended early: {join}"))),
    }
}

/// Held by every piece of work of a making that must not be left half done: they are over when the last holder is gone.
pub type UnderWay = mpsc::Sender<Infallible>;

/// Blocking work that ends by itself though nobody waits for it any more. Whoever clears up does: what is done later would stay.
pub async fn held<T, F>(under_way: &UnderWay, work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    let held = under_way.clone();
    let work = move || {
        let done = work();
        drop(held);
        done
    };
    blocking(work).await
}

/// The same for work that sends or receives a client's stream ([`gantry_image::paced`]).
pub async fn paced<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    gantry_image::paced::run(work).await?
}
