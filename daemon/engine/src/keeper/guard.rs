//! A frozen container in another's pid namespace does not hold up the other's end (P17).
//!
//! When the first process of a pid namespace ends, the kernel kills all others in it and waits for them. What the freezer of
//! cgroup v1 holds does not die before it is thawed, so it is thawed then, to nothing but its death.

use super::{Keeper, Message};
use crate::context::Context;
use gantry_core::lifecycle::Event;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::info;

/// How often is looked whether the owner of the namespace is ending. There is nothing to wait on: the kernel tells of an end when the
/// whole namespace is empty.
const EVERY: Duration = Duration::from_millis(200);
/// Bit of `flags` in `/proc/<pid>/stat` (proc(5)): the process is on its way out.
const EXITING: u64 = 0x4;

/// Runs while the container is frozen.
pub(super) async fn thaw_in_time(context: Arc<Context>, keeper: Arc<Keeper>, inbox: mpsc::Sender<Message>) {
    // At the daemon's start its lender may be read after it.
    if context.opened.subscribe().wait_for(|opened| *opened).await.is_err() {
        return;
    }
    let Some(lender) = lender(&context, &keeper) else {
        return;
    };
    // One that does not run has no process.
    let _ = lender.shim().await;
    let Some(first) = lender.pid() else { return };
    loop {
        // First, so that one that cannot be thawed is not tried without a pause.
        tokio::time::sleep(EVERY).await;
        if is_ending(first) {
            info!(pid = first, "the owner of its pid namespace is ending: it is thawed");
            // An inbox that is closed belongs to nobody.
            let _ = inbox.send(Message::News(Event::Resume)).await;
            return;
        }
    }
}

/// Whose process is the first of its pid namespace, if that is another container's.
fn lender(context: &Context, keeper: &Keeper) -> Option<Arc<Keeper>> {
    let mut owner = keeper.record().host.pid_mode.strip_prefix("container:")?.to_owned();
    // Who is lent a namespace may lend it on.
    for _ in 0..MOST {
        let lender = context.registry.find(&owner).ok()?;
        match lender.record().host.pid_mode.strip_prefix("container:") {
            Some(next) => owner = next.to_owned(),
            None => return Some(lender),
        }
    }
    None
}

/// Lenders in a row, for the loop's sake.
const MOST: usize = 64;

/// Whether every thread of it is on its way out; a process that is gone has none.
fn is_ending(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        flags(&stat).is_none_or(|flags| flags & EXITING != 0)
    })
}

/// The ninth field; the second is a name that may hold anything.
fn flags(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_whitespace().nth(6)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_stand_behind_any_name() {
        let stat = "42 (a) (b c) S 1 42 42 0 -1 4194564 100 0";
        assert_eq!(flags(stat), Some(4_194_564));
        assert_eq!(flags("42"), None);
        assert!(!is_ending(std::process::id()));
        assert!(is_ending(u32::MAX), "nobody is there");
    }
}
