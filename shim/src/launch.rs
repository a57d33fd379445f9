//! `start`: binds the sockets, forks the server, tells its address and ends. Nothing else is executed: the server is this program,
//! forked, reached by the container's eyes only through a read-only mount.

use crate::{args::Args, bootstrap::Asked, durable, server, shim::Config, sys};
use gantry_shim_protocol::{Bootstrap, bundle, socket};
use serde::Deserialize;
use std::{
    collections::HashMap,
    ffi::CString,
    fs,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

/// Set in the program that runs from the read-only mount.
pub const SAFE_ENV: &str = "GANTRY_SHIM_READ_ONLY";
/// Annotations that put several containers into one shim.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];
/// How long the server may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotated {
    annotations: HashMap<String, String>,
}

/// Starts a server for this bundle (or finds the one of its group) and prints where it listens.
pub fn start(args: &Args) -> io::Result<()> {
    run_from_read_only_mount();
    let asked = Asked::read(args)?;
    let args = &asked.args;
    let bundle = std::env::current_dir()?;
    let group = group_of(&bundle);
    let task_socket = PathBuf::from(socket::task_socket(
        &socket_dir(args),
        &args.address,
        &args.namespace,
        group.as_deref().unwrap_or(&args.id),
    ));
    let attach_socket = PathBuf::from(socket::attach_socket(&task_socket.to_string_lossy()));
    let address = format!("unix://{}", task_socket.display());
    if UnixStream::connect(&task_socket).is_ok() {
        if group.is_none() {
            return Err(io::Error::other(format!(
                "a shim for {} listens already at {address}",
                args.id
            )));
        }
        return announce(&asked, &bundle, &address, &attach_socket, None);
    }
    let task = bind(&task_socket)?;
    let attach = bind(&attach_socket)?;
    let (mut ready, tell_ready) = io::pipe()?;
    let sockets = [task_socket.clone(), attach_socket.clone()];
    let config = Config {
        bundle: bundle.clone(),
        task_socket,
        attach_socket: attach_socket.clone(),
        namespace: args.namespace.clone(),
        events_address: asked.events_address.clone(),
        address: args.address.clone(),
        oom_score_adj: fs::read_to_string("/proc/self/oom_score_adj")
            .map_or_else(|_| "0".to_owned(), |score| score.trim().to_owned()),
    };
    match sys::fork()? {
        sys::Forked::Child => {
            drop(ready);
            detach(&[task.as_raw_fd(), attach.as_raw_fd(), tell_ready.as_raw_fd()]);
            let code = match server::run(config, task, attach, tell_ready) {
                Ok(()) => 0,
                Err(err) => {
                    let _ = fs::write(bundle.join(bundle::SHIM_LOG), format!("server: {err}\n"));
                    1
                }
            };
            sys::exit_now(code)
        }
        sys::Forked::Parent { child } => {
            drop((task, attach, tell_ready));
            asked
                .place(child)
                .and_then(|()| wait_ready(&mut ready))
                .and_then(|()| announce(&asked, &bundle, &address, &attach_socket, Some(child)))
                .inspect_err(|_| {
                    crate::cgroup::kill(child as u32, libc::SIGKILL);
                    for path in sockets {
                        let _ = fs::remove_file(path);
                    }
                })
        }
    }
}

fn socket_dir(args: &Args) -> String {
    let named = if args.socket_dir.is_empty() {
        std::env::var(socket::DIR_ENV).unwrap_or_default()
    } else {
        args.socket_dir.clone()
    };
    if named.is_empty() {
        socket::DEFAULT_DIR.to_owned()
    } else {
        named
    }
}

fn group_of(bundle: &Path) -> Option<String> {
    let file = fs::File::open(bundle.join(bundle::CONFIG)).ok()?;
    let spec: Annotated = serde_json::from_reader(io::BufReader::new(file)).ok()?;
    GROUPS.iter().find_map(|name| spec.annotations.get(*name).cloned())
}

/// Binds a socket for root only; one that nobody listens on any more is in nobody's way.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let named = |err: io::Error| io::Error::new(err.kind(), format!("listening at {}: {err}", path.display()));
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(dir)
            .map_err(named)?;
    }
    let listener = match UnixListener::bind(path) {
        Err(err) if err.kind() == io::ErrorKind::AddrInUse => {
            fs::remove_file(path).map_err(named)?;
            UnixListener::bind(path)
        }
        other => other,
    };
    let listener = listener.map_err(named)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(named)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// In the server: a session of its own, nothing inherited, not in anyone's way.
fn detach(keep: &[i32]) {
    let _ = nix::unistd::setsid();
    if let Ok(null) = fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        for number in 0..3 {
            let _ = sys::dup_to(null.as_raw_fd(), number);
        }
    }
    sys::close_all_but(keep);
    let _ = nix::unistd::chdir("/");
    sys::ignore_signals();
}

fn wait_ready(ready: &mut io::PipeReader) -> io::Result<()> {
    let timeout = nix::poll::PollTimeout::try_from(PATIENCE).unwrap_or(nix::poll::PollTimeout::MAX);
    let mut wanted = [nix::poll::PollFd::new(ready.as_fd(), nix::poll::PollFlags::POLLIN)];
    nix::poll::poll(&mut wanted, timeout)?;
    let mut byte = [0];
    match ready.read(&mut byte)? {
        0 => Err(io::Error::other(
            "the shim's server did not come up; see shim.log in the bundle",
        )),
        _ => Ok(()),
    }
}

fn announce(asked: &Asked, bundle: &Path, address: &str, attach: &Path, pid: Option<i32>) -> io::Result<()> {
    let bootstrap = Bootstrap {
        version: asked.version(),
        address: address.to_owned(),
        protocol: "ttrpc".to_owned(),
    };
    durable::write_volatile(&bundle.join(bundle::ADDRESS), address.as_bytes())?;
    durable::write_volatile(&bundle.join(bundle::BOOTSTRAP), &serde_json::to_vec(&bootstrap)?)?;
    durable::write_volatile(&bundle.join(bundle::ATTACH), attach.as_os_str().as_bytes())?;
    if let Some(pid) = pid {
        durable::write_volatile(&bundle.join(bundle::SHIM_PID), pid.to_string().as_bytes())?;
    }
    let mut out = io::stdout();
    out.write_all(&asked.answer(&bootstrap)?)?;
    out.flush()
}

/// Goes on as the same program seen through a detached read-only mount, so that `/proc/self/exe`, which a container's process
/// shows for an instant, cannot be opened for writing, whatever becomes of it. Kernels before 5.12 lack the means: there the file stays
/// protected by being busy for as long as a shim runs.
fn run_from_read_only_mount() {
    if std::env::var_os(SAFE_ENV).is_some() {
        return;
    }
    let flags = rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE | rustix::mount::OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let Ok(exe) = fs::read_link("/proc/self/exe") else {
        return;
    };
    let Ok(tree) = rustix::mount::open_tree(rustix::fs::CWD, &exe, flags) else {
        return;
    };
    if sys::make_mount_readonly(tree.as_fd()).is_err() {
        return;
    }
    let args: Vec<CString> = std::env::args_os()
        .filter_map(|arg| CString::new(arg.as_bytes()).ok())
        .collect();
    let mut env: Vec<CString> = std::env::vars_os()
        .filter_map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok())
        .collect();
    env.extend(CString::new(format!("{SAFE_ENV}=1")));
    let _refused = sys::execveat(tree.as_fd(), &args, &env);
}
