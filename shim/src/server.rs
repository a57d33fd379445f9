//! The server: one thread, one event loop, two sockets, until there is nothing left to do.

use crate::{
    attach,
    extras::ExtrasService,
    foreign, reaper,
    sandbox::SandboxService,
    shim::{Config, Shim},
    sys,
    task::TaskService,
};
use gantry_proto_shim::{extras_service, sandbox_service, task_services, ttrpc};
use std::{
    io::{self, Write},
    os::{fd::IntoRawFd, unix::net::UnixListener},
    sync::Arc,
    time::Duration,
};

/// The engine's namespace.
const ENGINE: &str = "gantry";
/// How often a shim without containers looks whether its bundle is still there.
const LOOK: Duration = Duration::from_secs(10);
/// How often one that was sent away looks whether it may go.
const LEAVE: Duration = Duration::from_millis(500);

/// Serves until the shim may end. `ready` is told when requests are served.
pub fn run(config: Config, task: UnixListener, attach: UnixListener, ready: io::PipeWriter) -> io::Result<()> {
    sys::tune_allocator();
    nix::sys::prctl::set_child_subreaper(true)?;
    let _ = nix::sys::prctl::set_name(c"containerd-shim");
    let _ = std::fs::write("/proc/self/oom_score_adj", oom_score(&config).to_string());
    let signals = reaper::listen()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(serve(config, task, attach, ready, signals))
}

/// The engine's own shims go last. Those of clients go a little before the daemon that has started them, as containerd's do.
fn oom_score(config: &Config) -> i32 {
    match (config.namespace.as_str(), config.oom_score_adj.parse::<i32>()) {
        (ENGINE, _) | (_, Err(_)) => -998,
        (_, Ok(born)) => born.saturating_add(1).min(1000),
    }
}

async fn serve(
    config: Config,
    task: UnixListener,
    attach: UnixListener,
    mut ready: io::PipeWriter,
    signals: nix::sys::signalfd::SignalFd,
) -> io::Result<()> {
    let shim = Shim::new(config);
    tokio::spawn(reaper::run(shim.clone(), signals));
    tokio::spawn(shim.clone().tidy());
    tokio::spawn(attach::serve(shim.clone(), tokio::net::UnixListener::from_std(attach)?));
    let mut server = ttrpc_server(&shim, task).map_err(io::Error::other)?;
    server.start().await.map_err(io::Error::other)?;
    ready.write_all(b"1")?;
    drop(ready);
    shim.tidy_memory();
    until_done(&shim).await;
    // The answer to Shutdown is on its way.
    tokio::time::sleep(Duration::from_millis(5)).await;
    for socket in [&shim.config.task_socket, &shim.config.attach_socket] {
        if !shim.shutdown.load(std::sync::atomic::Ordering::Relaxed) {
            let _ = std::fs::remove_file(socket);
        }
    }
    Ok(())
}

fn ttrpc_server(shim: &Arc<Shim>, socket: UnixListener) -> ttrpc::Result<ttrpc::r#async::Server> {
    // SAFETY: the listener's descriptor is given away here and used nowhere else.
    let server = unsafe { ttrpc::r#async::Server::new().add_unix_listener(socket.into_raw_fd())? };
    let server = server.register_service(foreign::news::service(shim.clone()));
    let server = server.register_service(task_services(Arc::new(TaskService(shim.clone()))));
    let server = server.register_service(sandbox_service(Arc::new(SandboxService::new(shim.clone()))));
    Ok(server.register_service(extras_service(Arc::new(ExtrasService(shim.clone())))))
}

async fn until_done(shim: &Shim) {
    while !shim.may_end() {
        if shim.has_containers() {
            shim.change.notified().await;
        } else {
            let dismissed = shim.shutdown.load(std::sync::atomic::Ordering::Relaxed);
            let pause = if dismissed { LEAVE } else { LOOK };
            let _ = tokio::time::timeout(pause, shim.change.notified()).await;
        }
    }
}
