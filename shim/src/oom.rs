//! News of memory kills: told while the container goes on, and before its exit if that comes first. Who takes events is told by one, and
//! gantryd, which drives its containers itself, asks. Without anybody to tell, nothing is watched.

use crate::{
    cgroup::{Cgroups, Dir, Version},
    io::lock,
    shim::{Container, Shim},
    sys,
};
use gantry_proto_shim::{task_events::task::TaskOOM, topics};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::{
    fs::{self, File},
    io::Read,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Under v1 the kernel tells before it has killed: how often, and at what distance, the count is looked at.
const LOOKS: (u32, Duration) = (50, Duration::from_millis(10));

/// Watches a container's memory for as long as its first process lives.
pub fn watch(shim: &Arc<Shim>, container: &Arc<Container>, cgroups: &Cgroups) {
    let Some(dir) = cgroups
        .controller("memory")
        .filter(|_| container.driven || shim.events.are_wanted())
    else {
        return;
    };
    let opened = match dir.version {
        Version::One => notices_v1(dir),
        Version::Two => notices_v2(dir),
    };
    let Ok(notices) = opened else { return };
    let (shim, container, version) = (shim.clone(), container.clone(), dir.version);
    tokio::spawn(async move {
        let mut exit = container.init.exit.subscribe();
        loop {
            tokio::select! {
                noticed = notice(&notices, version) => if noticed.is_err() { return },
                _ = exit.wait_for(Option::is_some) => return,
            }
            for _ in 0..LOOKS.0 {
                if !container.init.life().announced {
                    // The end of what has not begun yet tells it.
                } else if tell(&shim, &container) || version == Version::Two {
                    break;
                }
                tokio::time::sleep(LOOKS.1).await;
            }
        }
    });
}

/// Memory kills in the container's run.
pub fn count(container: &Container) -> u64 {
    let before = lock(&container.init.life).oom_before;
    let seen = container.cgroups().oom_kills().saturating_sub(before);
    seen.max(*container.memory_kills.borrow())
}

/// Waits for more kills than are known, or for the end of the run. The kills then.
pub async fn beyond(container: &Container, known: u64) -> u64 {
    let (mut kills, mut exit) = (container.memory_kills.subscribe(), container.init.exit.subscribe());
    tokio::select! {
        _ = kills.wait_for(|kills| *kills > known) => {}
        _ = exit.wait_for(Option::is_some) => {}
    }
    *container.memory_kills.borrow()
}

/// Tells of kills that were not told. True if there were any.
pub fn tell(shim: &Shim, container: &Container) -> bool {
    let news = counted(container);
    if news {
        shim.events.tell(topics::TASK_OOM_EVENT_TOPIC, &event(container));
    }
    news
}

/// The news of kills that were not told, for one who tells it later.
pub fn news(shim: &Shim, container: &Container) -> Option<gantry_proto_shim::Envelope> {
    let envelope = || shim.events.envelope(topics::TASK_OOM_EVENT_TOPIC, &event(container));
    counted(container).then(envelope).flatten()
}

/// Whether there were kills that were not told; now they are.
fn counted(container: &Container) -> bool {
    let kills = count(container);
    container
        .memory_kills
        .send_if_modified(|told| std::mem::replace(told, kills.max(*told)) < kills)
}

pub fn event(container: &Container) -> TaskOOM {
    TaskOOM {
        container_id: container.id.clone(),
        ..Default::default()
    }
}

fn notices_v1(dir: &Dir) -> std::io::Result<AsyncFd<OwnedFd>> {
    let notices = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
    let control = File::open(dir.path.join("memory.oom_control"))?;
    let request = format!("{} {}", notices.as_raw_fd(), control.as_raw_fd());
    fs::write(dir.path.join("cgroup.event_control"), request)?;
    sys::watch(notices.into())
}

fn notices_v2(dir: &Dir) -> std::io::Result<AsyncFd<OwnedFd>> {
    let events = File::open(dir.path.join("memory.events"))?;
    sys::watch_for(events.into(), Interest::PRIORITY)
}

/// Waits for the kernel's next word.
async fn notice(notices: &AsyncFd<OwnedFd>, version: Version) -> std::io::Result<()> {
    let interest = match version {
        Version::One => Interest::READABLE,
        Version::Two => Interest::PRIORITY,
    };
    let mut guard = notices.ready(interest).await?;
    guard.clear_ready();
    let mut told = [0; 512];
    let mut file = File::from(sys::dup(notices)?);
    // Read, so that the next word is a new one.
    let _ = file.read(&mut told);
    Ok(())
}
