//! Mounts that nobody else sees and that no kill leaves behind.

use crate::{Error, Result, Way, perform_by, unmount};
use gantry_core::Mount;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::path::Path;
use std::{fs, panic, thread};

/// Runs `work` on the tree that `mounts` make, in a mount namespace that a thread of its own has to itself.
///
/// `at` is an empty directory to mount on, made if it is not there; any number of calls may share it, since each sees only
/// its own mount. The closure gets it as the tree's root. The namespace dies with the thread, so a killed process leaves
/// no mount; what the closure spawns inherits it and must end with it.
pub fn with_mounted<T: Send>(at: &Path, mounts: &[Mount], work: impl FnOnce(&Path) -> T + Send) -> Result<T> {
    with_mounted_by(Way::Auto, at, mounts, work)
}

/// [`with_mounted`], by a chosen way.
pub fn with_mounted_by<T: Send>(
    way: Way,
    at: &Path,
    mounts: &[Mount],
    work: impl FnOnce(&Path) -> T + Send,
) -> Result<T> {
    let at = std::path::absolute(at).map_err(Error::place(at))?;
    fs::create_dir_all(&at).map_err(Error::place(&at))?;
    let run = || {
        seclude()?;
        perform_by(way, mounts, &at)?;
        let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| work(&at)));
        // Here and not by the thread's end: the kernel takes a dead thread's namespace down a little after join returns.
        for _ in mounts.iter().filter(|one| one.target.is_empty()) {
            unmount(&at)?;
        }
        outcome.or_else(|panic| panic::resume_unwind(panic))
    };
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("mounted".into())
            .spawn_scoped(scope, run)
            .map_err(Error::private("spawn a thread"))?;
        worker.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

/// Gives the calling thread a mount namespace and a working directory of its own; news from outside still comes in (an
/// unmounted disk is let go), nothing goes out.
fn seclude() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).map_err(Error::private("unshare"))?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SLAVE,
        None::<&str>,
    )
    .map_err(Error::private("keep mounts inside"))
}
