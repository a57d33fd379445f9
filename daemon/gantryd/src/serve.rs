//! The daemon's life: locks, engine, socket, readiness; then signals, and the end.

use crate::config::Settings;
use crate::docker::{Served, Sockets};
use crate::error::{Error, Result};
use crate::lock::{self, Held};
use crate::wiring::{self, Rooms};
use crate::{cgroups, notify, socket};
use gantry_engine::Engine;
use std::future::Future;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::RoutesBuilder;
use tonic::transport::Server;
use tracing::{info, warn};

/// Time for answers under way when the daemon ends.
const FAREWELL: Duration = Duration::from_millis(300);
/// What stopping containers may take beyond their own time: SIGKILL needs a moment too.
const AFTER_KILL: Duration = Duration::from_secs(10);
/// Time for deleting the files of what was removed last.
const SWEEPING: Duration = Duration::from_secs(10);
/// Bytes a client may send ahead on one stream, and on its connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 2 << 20;
/// How often the directory of filters is emptied while somebody fills it.
const FILTER_TRIES: u32 = 100;

/// Signals that end the daemon, and the one that does nothing yet.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|source| Error::System {
                deed: "listen for signals",
                source,
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Returns when the daemon is to end.
    async fn end(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => info!("SIGHUP: configuration is read at start only; restart to change it"),
            }
        }
    }
}

/// Filters of profiles that are no longer used go with the daemon that served them.
fn make_filter_directory(path: &Path) -> Result<()> {
    let emptied = || match std::fs::remove_dir_all(path) {
        Err(err) if err.kind() != ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    };
    // A container that a former daemon began to make may put its filter there at this very moment; it does so once.
    let mut tries = 0..FILTER_TRIES;
    let outcome = loop {
        match emptied() {
            Err(err) if err.kind() == ErrorKind::DirectoryNotEmpty && tries.next().is_some() => {}
            outcome => break outcome,
        }
    };
    outcome.map_err(Error::path("empty the directory of filters", path))?;
    lock::directory(path, 0o700)
}

/// Runs the daemon until it is told to end.
pub async fn run(settings: Settings) -> Result<()> {
    let mut signals = Signals::listen()?;
    lock::directory(&settings.data_root, 0o711)?;
    lock::directory(&settings.exec_root, 0o711)?;
    let _data = Held::take(
        &settings.data_root.join("gantryd.lock"),
        "data root",
        &settings.data_root,
    )?;
    let _exec = Held::take(
        &settings.exec_root.join("gantryd.lock"),
        "exec root",
        &settings.exec_root,
    )?;
    make_filter_directory(&settings.exec_root.join(gantry_shim_protocol::FILTERS))?;
    if let Some(parent) = settings.pidfile.parent() {
        std::fs::create_dir_all(parent).map_err(Error::path("make the directory of the pidfile", parent))?;
    }
    let pidfile = Held::take(&settings.pidfile, "pidfile", &settings.pidfile)?;
    cgroups::prepare(&settings.cgroup_parent);
    let rooms = tokio::select! {
        rooms = wiring::open(&settings) => rooms?,
        () = signals.end() => return Ok(()),
    };
    let (shims, shims_place) = socket::bind_for_shims(&settings)?;
    let shims = UnixListener::from_std(shims).map_err(Error::path("listen on", &settings.address))?;
    // Ends with this function; what a shim could not tell, it tells the next daemon.
    let _shims = gantry_api_containerd::serve_shims(rooms.engine.clone(), shims).await?;
    // First, so that whoever finds the gRPC socket answering finds these too.
    let docker = Sockets::bind(&settings).await?;
    let (listener, place) = socket::bind(&settings)?;
    let listener = UnixListener::from_std(listener).map_err(Error::path("listen on", &settings.address))?;
    // Ends with this function, too.
    let (leave, leaving) = watch::channel(false);
    let mut docker = docker.serve(&rooms.engine, &leaving);
    let outcome = serve(&settings, listener, &rooms, &mut signals, (&leave, &mut docker)).await;
    docker.remove();
    place.remove();
    shims_place.remove();
    cgroups::remove_empty(&settings.cgroup_parent);
    pidfile.remove();
    outcome
}

async fn serve(
    settings: &Settings,
    listener: UnixListener,
    rooms: &Rooms,
    signals: &mut Signals,
    (leave, docker): (&watch::Sender<bool>, &mut Served),
) -> Result<()> {
    let (stop, stopped) = oneshot::channel::<()>();
    let mut server = std::pin::pin!(server(rooms, listener, async move {
        // Sent or dropped, it is time.
        let _ = stopped.await;
    }));
    info!(
        version = env!("CARGO_PKG_VERSION"),
        "gantryd answers on {}",
        settings.address.display()
    );
    notify::tell("READY=1");
    wiring::housekeeping(settings, rooms);
    tokio::select! {
        outcome = &mut server => return outcome,
        () = signals.end() => {}
    }
    notify::tell("STOPPING=1");
    if !settings.live_restore {
        // Requests are still answered: clients that wait for these containers see them end.
        tokio::select! {
            outcome = &mut server => return outcome,
            () = stop_containers(&rooms.engine, settings.shutdown_timeout) => {}
            () = signals.end() => warn!("told twice to end: containers that still run are left running"),
        }
    }
    drop(stop);
    leave.send_replace(true);
    let answers = async { tokio::join!(server, docker.ended()) };
    let outcome = match tokio::time::timeout(FAREWELL, answers).await {
        Ok((outcome, ())) => outcome,
        // Streams that have no end of their own are cut here.
        Err(_) => Ok(()),
    };
    rooms.engine.close(SWEEPING).await;
    outcome
}

async fn stop_containers(engine: &Engine, limit: Option<Duration>) {
    match limit {
        None => engine.stop_all(Duration::MAX).await,
        Some(limit) => {
            let all = limit.saturating_add(AFTER_KILL);
            if tokio::time::timeout(all, engine.stop_all(limit)).await.is_err() {
                warn!("not every container has ended within {} s", all.as_secs());
            }
        }
    }
}

/// gantry.v1, containerd's services and grpc.health.v1 on the socket.
async fn server(rooms: &Rooms, listener: UnixListener, until: impl Future<Output = ()>) -> Result<()> {
    let mut routes = RoutesBuilder::default();
    let served = gantry_api_engine::SERVICES
        .into_iter()
        .chain(gantry_api_containerd::SERVICES);
    routes.add_service(gantry_api_containerd::health(served));
    gantry_api_engine::add_services(rooms.engine.clone(), &mut routes);
    gantry_api_containerd::add_services(rooms.containerd.clone(), &mut routes);
    Server::builder()
        .trace_fn(gantry_api_engine::span)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_routes(routes.routes())
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), until)
        .await?;
    Ok(())
}
