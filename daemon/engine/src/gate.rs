//! The one gate to blocking work: store calls, files, mounts.

use gantry_core::{Error, Result};

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

/// The same for work that sends or receives a client's stream ([`gantry_image::paced`]).
pub async fn paced<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    gantry_image::paced::run(work).await?
}
