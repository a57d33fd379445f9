//! The end of the other shim: noticed, and what it leaves is cleared by its own program's `delete` and then by hand.

use super::{Foreign, birth, pipes};
use crate::{
    cgroup,
    child::{self, mounts, undo},
    durable,
    failure::{Failure, Kind, Result},
    io::lock,
    reaper,
    shim::{Container, Exited, Phase, Process, Shim},
    verbs::kill::end_tree,
};
use gantry_proto_shim::{
    api::{DeleteResponse, ShutdownRequest},
    protobuf::Message,
    ttrpc::context::Context,
};
use gantry_shim_protocol::{bundle, socket};
use std::{
    fs, io,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

/// How long its program may take to clear what a dead one left.
const DELETE: Duration = Duration::from_secs(10);
/// How long it may take to go when it was sent away.
const FAREWELL: Duration = Duration::from_secs(3);
/// A connection is made within this, or there is nobody.
const CONNECT: Duration = Duration::from_secs(5);
/// So many connections in a row that end as soon are as good as none.
const SHORT_LINKS: u32 = 10;
const SHORT: Duration = Duration::from_secs(1);
/// The exit status of what nobody knows the end of.
const UNKNOWN: u32 = 255;

/// Sees it die, whenever that is.
pub(super) fn watch(shim: &Arc<Shim>, foreign: &Arc<Foreign>, address: &str) {
    let (shim, foreign, address) = (shim.clone(), foreign.clone(), address.to_owned());
    tokio::spawn(async move {
        gone(Path::new(address.trim_start_matches("unix://"))).await;
        foreign.dead.send_replace(true);
        if !foreign.dismissed.load(Ordering::Relaxed) {
            bereaved(&shim, &foreign).await;
        }
    });
}

/// Returns when nobody accepts connections there any more. A connection on which nothing is said lasts as long as its other end.
async fn gone(socket: &Path) {
    let mut short = 0;
    while short < SHORT_LINKS {
        let begun = Instant::now();
        let Ok(Ok(stream)) = timeout(CONNECT, UnixStream::connect(socket)).await else {
            return;
        };
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut [0; 16]) {
                Ok(1..) => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => break,
            }
        }
        short = if begun.elapsed() < SHORT { short + 1 } else { 0 };
        sleep(Duration::from_millis(20)).await;
    }
}

/// Its container ends with it.
async fn bereaved(shim: &Arc<Shim>, foreign: &Arc<Foreign>) {
    let _busy = shim.busy();
    let Ok(container) = shim.container(&foreign.id) else {
        return;
    };
    if container.init.life().phase == Phase::Creating {
        // Whoever creates it sees to that.
        return;
    }
    shim.note(&format!("{} died; its container is ended", foreign.describe()));
    let status = match clear(shim, &container, foreign).await {
        Ok(status) => status,
        Err(failure) => {
            shim.note(&failure.message);
            UNKNOWN
        }
    };
    let execs: Vec<Arc<Process>> = lock(&container.execs).values().cloned().collect();
    for process in execs.iter().chain([&container.init]) {
        // One that is being started is seen to by who starts it.
        if process.life().pid != 0 && process.claim_end() {
            reaper::conclude(shim, Some(&container), process, Exited::now(status)).await;
        }
    }
}

impl Foreign {
    /// Ends it, with whatever it has at work. Its death is seen as any other.
    pub(super) fn put_down(&self) {
        if let Some(link) = self.link.get()
            && link.pid != 0
        {
            end_tree(link.pid);
        }
    }

    /// Sends it away; it has nothing any more.
    pub(super) async fn dismiss(self: &Arc<Self>, shim: &Arc<Shim>) {
        self.dismissed.store(true, Ordering::Relaxed);
        if let Ok(link) = self.link() {
            let request = ShutdownRequest {
                id: self.id.clone(),
                ..Default::default()
            };
            let call = link.task.shutdown(Context::default(), &request);
            // Whatever it says: if it stays, it is ended.
            let _ = timeout(FAREWELL, self.endless(call)).await;
        }
        let (foreign, busy) = (self.clone(), shim.busy());
        tokio::spawn(async move {
            let _busy = busy;
            let mut dead = foreign.dead.subscribe();
            if timeout(FAREWELL, dead.wait_for(|dead| *dead)).await.is_err() {
                foreign.put_down();
            }
        });
    }
}

/// Clears what a dead shim left of a container. Answers the exit status its program knows.
async fn clear(shim: &Arc<Shim>, container: &Arc<Container>, foreign: &Arc<Foreign>) -> Result<u32> {
    let (life, cgroups) = (container.init.life(), container.cgroups());
    let us = std::process::id();
    let child = child::spawn(shim, &[], || {
        end_strays(us, foreign);
        if life.pid != 0 {
            undo::kill_leftovers(life.pid, life.start_time, &cgroups);
        }
        let status = ask_program(shim, foreign);
        mounts::unmount_all(&foreign.bundle().join(bundle::ROOTFS));
        remove_socket(shim, foreign);
        // What the program did not know of.
        let undone = undo::undo(&container.id, &container.bundle, &container.dir());
        undone.map(|()| status.unwrap_or(UNKNOWN))
    })?;
    let pid = child.pid;
    match timeout(DELETE, child.answer::<u32>()).await {
        Ok(status) => status,
        Err(_) => {
            end_tree(pid);
            let message = format!("the program of {} does not come to an end", foreign.describe());
            Err(Failure::new(Kind::Runtime, message))
        }
    }
}

/// In a child: runs the program's `delete`.
fn ask_program(shim: &Shim, foreign: &Foreign) -> Option<u32> {
    let said = birth::run(&mut birth::command(shim, foreign, "delete"), &[]).ok()?;
    let answer = DeleteResponse::parse_from_bytes(&said).ok()?;
    (answer.pid != 0).then_some(answer.exit_status)
}

/// The socket of a dead shim, by the name that shims give it.
fn remove_socket(shim: &Shim, foreign: &Foreign) {
    let named = socket::foreign_socket(&shim.config.address, &foreign.namespace, &foreign.id);
    // Most are gone with their shim, and some have other names.
    let _ = fs::remove_file(named);
}

/// In a child: shims and runtimes that were started for this container, known by where they work. What is below them is theirs.
fn end_strays(us: u32, foreign: &Foreign) {
    let bundle = foreign.bundle();
    for pid in durable::descendants(us) {
        if fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == bundle) {
            for pid in durable::descendants(pid).into_iter().chain([pid]) {
                cgroup::kill(pid, libc::SIGKILL);
            }
        }
    }
}

/// Nothing of a creation that failed stays.
pub async fn unmake(shim: &Arc<Shim>, container: &Arc<Container>, foreign: &Arc<Foreign>) -> Result<()> {
    foreign.dismissed.store(true, Ordering::Relaxed);
    foreign.put_down();
    let cleared = clear(shim, container, foreign).await;
    foreign.dead.send_replace(true);
    remove_home(foreign)?;
    cleared.map(drop)
}

/// Removes its directory. Its root must be empty: a mount left there is an error, never a deletion through it.
pub(super) fn remove_home(foreign: &Foreign) -> Result<()> {
    let fine = |err: io::Error| match err.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(Failure::new(
            Kind::Mount,
            format!("removing the bundle of {}: {err}", foreign.describe()),
        )),
    };
    pipes::remove(foreign, None);
    fs::remove_dir(foreign.bundle().join(bundle::ROOTFS)).or_else(fine)?;
    fs::remove_dir_all(&foreign.home).or_else(fine)
}
