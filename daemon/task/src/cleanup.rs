//! Leaving nothing of a task: politely after its end, or by force after its shim died.

use crate::bundle::{self, Bundle, Leaving};
use crate::cgroup::{Cgroup, Hierarchies};
use crate::error::{Result, TaskError};
use crate::process::ProcessMark;
use crate::shim::Shim;
use crate::shims::{Shims, blocking};
use gantry_core::{ContainerId, Namespace};
use gantry_shim_protocol::{BundleState, socket};
use rustix::mount::{UnmountFlags, unmount};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is known of a task whose shim is dead or does not answer.
#[derive(Clone, Debug)]
pub struct Leftover {
    pub namespace: Namespace,
    pub id: ContainerId,
    /// Its first process, as recorded.
    pub mark: Option<ProcessMark>,
    /// Its cgroup path, as its spec names it.
    pub cgroup_path: Option<String>,
}

impl Shims {
    /// Takes the bundle of a task that was deleted out of the way, to be removed when there is time. Its shim was told to shut
    /// down and may live on for clients that still drain; nothing is killed. A bundle with a mount in it is refused as busy.
    pub async fn release(&self, shim: &Shim) -> Result<Leaving> {
        let bundle = shim.bundle().clone();
        blocking("remove a bundle", move || {
            refuse_mounted(bundle.path())?;
            bundle.leave()
        })
        .await
    }

    /// Bundles that a former daemon was removing when it died. Blocks.
    pub fn leaving(&self) -> Result<Vec<Leaving>> {
        let roots = self.bundle_roots().into_iter();
        let each: Result<Vec<Vec<Leaving>>> = roots.map(bundle::leaving).collect();
        Ok(each?.into_iter().flatten().collect())
    }

    /// Ends whatever is left of a task and removes it: the shim, the processes, the cgroups, mounts below the bundle, the sockets,
    /// the bundle. Safe to repeat; what is gone already is fine. While a process does not die the bundle stays, to be found again.
    pub async fn cleanup(&self, leftover: Leftover) -> Result<()> {
        let shims = self.clone();
        blocking("clean up a task", move || shims.cleanup_now(&leftover)).await
    }

    fn cleanup_now(&self, leftover: &Leftover) -> Result<()> {
        let deadline = Instant::now() + self.config().deadlines.cleanup;
        let bundle = self.bundle(&leftover.namespace, &leftover.id);
        let state = bundle.state().unwrap_or_default();
        fail::fail_point!("task::cleanup::kill");
        end_shim(&bundle, leftover.id.as_str(), deadline)?;
        self.end_behind(&bundle, leftover, deadline)?;
        end_container(leftover, &state, deadline)?;
        unmount_below(bundle.path(), deadline)?;
        fail::fail_point!("task::cleanup::socket");
        self.remove_sockets(&bundle, leftover);
        bundle.remove()
    }

    /// Only names below our own socket directory.
    fn remove_sockets(&self, bundle: &Bundle, leftover: &Leftover) {
        let dir = self.socket_dir();
        let (namespace, id) = (leftover.namespace.as_str(), leftover.id.as_str());
        let named = socket::task_socket(&dir.to_string_lossy(), &self.config().grpc_address, namespace, id);
        let written = bundle
            .bootstrap()
            .unwrap_or_default()
            .and_then(|bootstrap| bootstrap.socket_path().map(PathBuf::from));
        let attach = socket::attach_socket(&named);
        let all = [
            Some(PathBuf::from(named)),
            Some(PathBuf::from(attach)),
            written,
            bundle.attach_socket(),
        ];
        for path in all
            .into_iter()
            .flatten()
            .filter(|path| path.parent() == Some(dir.as_path()))
        {
            // Absent is fine, and a socket nobody listens on harms nobody: the next shim of that name replaces it.
            let _ = fs::remove_file(path);
        }
    }
}

/// The process of this bundle's shim, if it still runs. Its pid file is a bare number, so the process must also look like it.
pub(crate) fn living_shim(bundle: &Bundle, id: &str) -> Option<ProcessMark> {
    let mark = bundle.shim_pid().and_then(ProcessMark::of)?;
    let cmdline = fs::read(format!("/proc/{}/cmdline", mark.pid)).unwrap_or_default();
    let words: Vec<&[u8]> = cmdline.split(|byte| *byte == 0).collect();
    let is_shim = words
        .first()
        .is_some_and(|name| String::from_utf8_lossy(name).contains("containerd-shim-"));
    (is_shim && words.contains(&id.as_bytes())).then_some(mark)
}

/// Kills it.
fn end_shim(bundle: &Bundle, id: &str, deadline: Instant) -> Result<()> {
    match living_shim(bundle, id) {
        Some(mark) => end(&mark, id, deadline),
        None => Ok(()),
    }
}

fn end_container(leftover: &Leftover, state: &BundleState, deadline: Instant) -> Result<()> {
    let id = leftover.id.as_str();
    let written = ProcessMark {
        pid: state.pid,
        start_time: state.start_time,
        boot_id: state.boot_id.clone(),
    };
    for mark in leftover.mark.iter().chain([&written]) {
        end(mark, id, deadline)?;
    }
    let hierarchies = Hierarchies::detect()?;
    let mut cgroups = vec![Cgroup::of_dirs(&hierarchies, &state.cgroups, id)];
    if let Some(path) = &leftover.cgroup_path {
        cgroups.push(Cgroup::at(&hierarchies, path, id)?);
    }
    for cgroup in &cgroups {
        cgroup.kill(deadline)?;
        fail::fail_point!("task::cleanup::cgroup");
        cgroup.remove(deadline)?;
    }
    Ok(())
}

/// Kills one process. A frozen one does not die before its cgroup is thawed, which comes later: it is not waited for long.
fn end(mark: &ProcessMark, id: &str, deadline: Instant) -> Result<()> {
    if mark.kill()?
        && !mark.wait_gone(Duration::from_millis(100).min(deadline.saturating_duration_since(Instant::now())))
    {
        tracing::debug!(container = id, pid = mark.pid, "killed, not yet gone");
    }
    Ok(())
}

/// Unmounts whatever is mounted below a directory, the deepest first. Never lazily: a tree with a mount in it must not be removed.
pub(crate) fn unmount_below(dir: &Path, deadline: Instant) -> Result<()> {
    let mut points = mounted_below(dir)?;
    points.sort();
    for point in points.iter().rev() {
        unmount_one(point, deadline).map_err(|source| cannot_unmount(point, source))?;
    }
    Ok(())
}

fn refuse_mounted(dir: &Path) -> Result<()> {
    match mounted_below(dir)?.first() {
        Some(point) => Err(cannot_unmount(point, ErrorKind::ResourceBusy.into())),
        None => Ok(()),
    }
}

fn cannot_unmount(path: &Path, source: io::Error) -> TaskError {
    TaskError::Unmount {
        path: path.to_owned(),
        source,
    }
}

fn mounted_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read("/proc/self/mountinfo").map_err(|source| cannot_unmount(dir, source))?;
    let text = String::from_utf8_lossy(&text);
    Ok(mount_points(&text).filter(|point| point.starts_with(dir)).collect())
}

fn unmount_one(point: &Path, deadline: Instant) -> io::Result<()> {
    loop {
        match unmount(point, UnmountFlags::NOFOLLOW).map_err(io::Error::from) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            // Not mounted any more.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => return Ok(()),
            done => return done,
        }
    }
}

fn mount_points(mountinfo: &str) -> impl Iterator<Item = PathBuf> + '_ {
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(unescape(point)))
}

/// proc(5): space, tab, newline and backslash stand as three octal digits.
fn unescape(text: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shims::{Deadlines, ShimsConfig};
    use std::process::Command;

    fn shims(root: &Path) -> Shims {
        Shims::new(ShimsConfig {
            exec_root: root.to_owned(),
            shim: "/nonexistent".into(),
            grpc_address: root.join("g.sock").to_string_lossy().into_owned(),
            debug: false,
            deadlines: Deadlines {
                cleanup: Duration::from_secs(5),
                ..Deadlines::default()
            },
        })
    }

    fn leftover(mark: Option<ProcessMark>) -> Leftover {
        Leftover {
            namespace: Namespace::engine(),
            id: ContainerId::new("c1").unwrap(),
            mark,
            cgroup_path: None,
        }
    }

    #[tokio::test]
    async fn nothing_of_a_dead_shims_container_is_left() {
        let root = tempfile::tempdir().unwrap();
        let shims = shims(root.path());
        let bundle = shims.bundle(&Namespace::engine(), &ContainerId::new("c1").unwrap());
        bundle.make(b"{}").unwrap();
        // What runs, what is mounted, and what listened.
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let mark = ProcessMark::of(child.id()).unwrap();
        let state = BundleState {
            pid: mark.pid,
            start_time: mark.start_time,
            boot_id: mark.boot_id.clone(),
            ..Default::default()
        };
        fs::write(bundle.path().join("state.json"), serde_json::to_vec(&state).unwrap()).unwrap();
        let rootfs = bundle.path().join("rootfs");
        rustix::mount::mount("none", &rootfs, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
        fs::create_dir(shims.socket_dir()).unwrap();
        let (named, foreign) = (shims.socket_dir().join("x"), root.path().join("foreign"));
        fs::write(&named, "").unwrap();
        fs::write(&foreign, "").unwrap();
        fs::write(bundle.path().join("address"), format!("unix://{}", named.display())).unwrap();
        fs::write(bundle.path().join("attach"), foreign.to_string_lossy().as_bytes()).unwrap();

        shims.cleanup(leftover(None)).await.unwrap();
        shims.cleanup(leftover(Some(mark))).await.unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(!bundle.exists() && !named.exists());
        assert!(foreign.exists(), "a path outside our socket directory is not ours");
        assert!(shims.list_bundles().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_process_that_is_not_the_recorded_one_lives() {
        let root = tempfile::tempdir().unwrap();
        let shims = shims(root.path());
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let mut mark = ProcessMark::of(child.id()).unwrap();
        mark.boot_id = "before the reboot".into();
        shims.cleanup(leftover(Some(mark))).await.unwrap();
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn mount_points_are_unescaped() {
        let points: Vec<_> = mount_points("1 2 0:3 / /a\\040b rw - tmpfs none rw").collect();
        assert_eq!(points, [PathBuf::from("/a b")]);
    }
}
