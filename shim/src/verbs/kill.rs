//! Kill: a signal to a process, to all of a container, or the end of a creation that is stuck.

use crate::{
    durable,
    failure::{Failure, Kind, Result},
    foreign,
    io::lock,
    peer::{self, Of},
    shim::{Container, Phase, Shim},
};
use std::sync::Arc;

/// Sends a signal.
pub async fn kill(shim: &Arc<Shim>, id: &str, exec: &str, signal: u32, all: bool) -> Result<()> {
    let container = shim.container(id)?;
    let process = container.process(exec)?;
    let signal = signal as i32;
    if !(0..=64).contains(&signal) {
        let of = if exec.is_empty() { Of::Init } else { Of::Exec };
        let text = format!("no signal has the number {signal}");
        return Err(Failure::new(Kind::Invalid, text).with_peer(peer::bad_signal(of)));
    }
    if signal == libc::SIGKILL && exec.is_empty() {
        end_helper(&container);
    }
    if let Some(foreign) = &container.foreign {
        return foreign::verbs::kill(&container, &process, foreign, signal as u32, all).await;
    }
    match process.life().phase {
        Phase::Creating if signal == libc::SIGKILL => return Ok(()),
        Phase::Creating | Phase::Added => {
            return Err(Failure::precondition(format!(
                "{} has no process yet; only the kill signal ends its creation",
                process.describe()
            )));
        }
        Phase::Stopped if all && exec.is_empty() => {}
        Phase::Stopped => return Err(Failure::finished()),
        Phase::Created | Phase::Starting | Phase::Running => {}
    }
    if all && exec.is_empty() {
        for pid in container.cgroups().pids() {
            crate::cgroup::kill(pid, signal);
        }
    } else {
        process.signal(signal)?;
    }
    if signal == libc::SIGKILL && container.is_paused() {
        // What stands still cannot die.
        container.cgroups().thaw();
        container.paused.store(false, std::sync::atomic::Ordering::Relaxed);
    }
    Ok(())
}

/// Ends the helper at work for a container (a stuck hook, a stuck mount) and whatever it made.
fn end_helper(container: &Container) {
    if let Some(helper) = *lock(&container.helper) {
        end_tree(helper);
    }
}

/// Kills a process and all below it.
pub fn end_tree(helper: u32) {
    crate::cgroup::kill(helper, libc::SIGSTOP);
    // Stopped, it makes nothing more; asleep in the kernel, neither.
    for _ in 0..100 {
        match durable::state_of(helper) {
            Some('R' | 'S') => std::thread::sleep(std::time::Duration::from_micros(100)),
            _ => break,
        }
    }
    for pid in durable::descendants(helper).into_iter().chain([helper]) {
        crate::cgroup::kill(pid, libc::SIGKILL);
    }
}
