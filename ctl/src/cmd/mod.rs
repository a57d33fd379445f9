//! The commands, one function each: `(Daemon, Parsed) -> exit code`.

pub(crate) mod archive;
pub(crate) mod attach;
pub(crate) mod commit;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod df;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod images;
pub(crate) mod inspect;
mod inspect_container;
mod inspect_endpoints;
mod inspect_image;
mod inspect_network;
mod inspect_volume;
pub(crate) mod logs;
pub(crate) mod network;
pub(crate) mod ports;
pub(crate) mod prune;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod run;
pub(crate) mod simple;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod system;
pub(crate) mod update;
pub(crate) mod volume;

#[cfg(test)]
mod tests;

use std::future::Future;

use futures::StreamExt;

use crate::error::{Error, Result};

/// So many requests of one command are under way at once.
const AT_ONCE: usize = 50;

/// What came of a request.
enum Outcome {
    Done,
    /// There was nothing to do, and this was said.
    Nothing,
}

/// Does something to each name, `AT_ONCE` at a time; shows the names of those that worked in the order given, then all errors.
async fn each<F>(names: &[String], act: impl Fn(String) -> F) -> Result<i32>
where
    F: Future<Output = Result<Outcome>>,
{
    let mut results = futures::stream::iter(names.iter().cloned().map(act)).buffered(AT_ONCE);
    let mut errors = Vec::new();
    let mut names = names.iter();
    while let (Some(name), Some(result)) = (names.next(), results.next().await) {
        match result {
            Ok(Outcome::Done) => crate::out::line(name),
            Ok(Outcome::Nothing) => {}
            Err(err) => errors.push(err.to_string()),
        }
    }
    if errors.is_empty() {
        Ok(0)
    } else {
        Err(Error::Several(errors))
    }
}
