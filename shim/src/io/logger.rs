//! `binary://`: a program that takes the output on descriptors 3 and 4, and says on 5 that it is ready.

use super::{fifo, hub::Hub};
use crate::{
    child::nonblocking,
    shim::{Process, Shim},
    sys,
};
use gantry_shim_protocol::stdio::Binary;
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::pipe2,
};
use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle};

/// How long a logger may take to be ready, to end once it has all, and to end when asked to.
const BEGIN: Duration = Duration::from_secs(30);
const END: Duration = Duration::from_secs(10);
const LAST: Duration = Duration::from_secs(2);

/// Starts a logger for the streams that name it, and waits until it is ready.
pub async fn start(
    shim: &Arc<Shim>,
    process: &Process,
    bundle: &Path,
    binary: &Binary,
    streams: [bool; 2],
) -> io::Result<()> {
    let named = |err: io::Error| io::Error::new(err.kind(), format!("logger {}: {err}", binary.program));
    let (out, out_end) = pipe2(OFlag::O_CLOEXEC)?;
    let (err, err_end) = pipe2(OFlag::O_CLOEXEC)?;
    let (ready, ready_end) = pipe2(OFlag::O_CLOEXEC)?;
    let (failed, failed_end) = pipe2(OFlag::O_CLOEXEC)?;
    let id = process.exec.as_deref().unwrap_or(&process.container);
    let sys::Forked::Parent { child } = sys::fork()? else {
        become_logger(shim, bundle, binary, id, [&out, &err, &ready_end], &failed_end)
    };
    let (sender, exited) = oneshot::channel();
    shim.expect_child(child as u32, sender);
    drop((out, err, ready_end, failed_end));
    if let Err(err) = begun(binary, ready, failed).await {
        crate::cgroup::kill(child as u32, libc::SIGKILL);
        return Err(named(err));
    }
    let mut roads = Vec::new();
    for (stream, end) in [(1, out_end), (2, err_end)] {
        if streams[usize::from(stream) - 1] {
            roads.push(fifo::send_to(&process.hub, stream, nonblocking(end)?));
        }
    }
    tokio::spawn(see_off(shim.clone(), process.hub.clone(), child as u32, roads, exited));
    Ok(())
}

/// In the child. Nothing of the shim is left there but what the contract names.
fn become_logger(shim: &Shim, bundle: &Path, binary: &Binary, id: &str, ends: [&OwnedFd; 3], failed: &OwnedFd) -> ! {
    sys::reset_signals();
    let _ = nix::unistd::chdir(bundle);
    // Its own number might be one of those that the contract names.
    let Ok(failed) = fcntl(failed, FcntlArg::F_DUPFD_CLOEXEC(16)).map(sys::own) else {
        sys::exit_now(127)
    };
    let errno = exec_logger(shim, binary, id, ends, &failed);
    let _ = nix::unistd::write(&failed, &(errno as i32).to_le_bytes());
    sys::exit_now(127)
}

fn exec_logger(shim: &Shim, binary: &Binary, id: &str, ends: [&OwnedFd; 3], failed: &OwnedFd) -> nix::errno::Errno {
    let mut held = Vec::new();
    for end in ends {
        match fcntl(end, FcntlArg::F_DUPFD_CLOEXEC(16)) {
            Ok(number) => held.push(number),
            Err(errno) => return errno,
        }
    }
    if let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        (0..3).for_each(|number| drop(sys::dup_to(null.as_raw_fd(), number)));
    }
    for (number, end) in (3..).zip(&held) {
        let _ = sys::dup_to(*end, number);
    }
    sys::close_all_but(&[3, 4, 5, failed.as_raw_fd()]);
    let _ = std::fs::write("/proc/self/oom_score_adj", &shim.config.oom_score_adj);
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let args: Vec<CString> = [&binary.program]
        .into_iter()
        .chain(&binary.args)
        .map(|arg| text(arg))
        .collect();
    let env = [
        text(&format!("CONTAINER_ID={id}")),
        text(&format!("CONTAINER_NAMESPACE={}", shim.config.namespace)),
    ];
    sys::execve(&text(&binary.program), &args, &env)
}

/// Waits until the program runs and says that it is ready; the end of that pipe counts, but for the second generation, which says a byte.
async fn begun(binary: &Binary, ready: OwnedFd, failed: OwnedFd) -> io::Result<()> {
    let late = || io::Error::other("it does not get ready");
    let errno = tokio::time::timeout(BEGIN, first_bytes(failed))
        .await
        .map_err(|_| late())??;
    if let Ok(number) = <[u8; 4]>::try_from(errno.as_slice()) {
        return Err(io::Error::from_raw_os_error(i32::from_le_bytes(number)));
    }
    let said = tokio::time::timeout(BEGIN, first_bytes(ready))
        .await
        .map_err(|_| late())??;
    if binary.must_speak && said.is_empty() {
        return Err(io::Error::other("it closed its ready pipe without a byte"));
    }
    Ok(())
}

async fn first_bytes(pipe: OwnedFd) -> io::Result<Vec<u8>> {
    let pipe = nonblocking(pipe)?;
    let mut buffer = [0; 4];
    loop {
        let mut guard = pipe.readable().await?;
        match nix::unistd::read(pipe.get_ref(), &mut buffer) {
            Ok(count) => return Ok(buffer[..count].to_vec()),
            Err(nix::errno::Errno::EAGAIN) => guard.clear_ready(),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A logger ends by itself once both streams have; one that does not is asked, and then made to.
async fn see_off(
    shim: Arc<Shim>,
    hub: Arc<Hub>,
    pid: u32,
    roads: Vec<JoinHandle<()>>,
    mut exited: oneshot::Receiver<i32>,
) {
    let _busy = shim.busy();
    for road in roads {
        let _ = road.await;
    }
    let mut over = hub.ended.subscribe();
    let _ = over.wait_for(|over| *over).await;
    for (patience, signal) in [(END, libc::SIGTERM), (LAST, libc::SIGKILL)] {
        if tokio::time::timeout(patience, &mut exited).await.is_ok() {
            return;
        }
        crate::cgroup::kill(pid, signal);
    }
    let _ = exited.await;
}
