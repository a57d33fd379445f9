//! Every use case once: create, start, exec, stop, copy, logs, events, images. Doors translate to it, mechanisms work for it;
//! it never sees a wire type.
//!
//! The flow: a door calls a method of [`Engine`]; what concerns one container goes to that container's
//! [`keeper`](crate::keeper), which decides with the pure step of `gantry_core::lifecycle`, writes one batch, and acts through
//! `daemon/task`. News (exits) comes back into the keeper's inbox. Listing and inspecting read published state.

mod activations;
mod background;
mod config;
mod container;
mod context;
mod difference;
mod events;
mod exchange;
mod exec;
mod failpoint;
mod files;
mod filters;
mod gate;
mod host;
mod image;
mod keeper;
mod layered;
pub mod meta;
mod names;
mod network;
mod records;
mod registry;
mod sandboxes;
mod strangers;
mod system;
pub mod tasks;
mod transfer;
mod volume;

pub use activations::{Activation, Activations, ActiveMount, NewActivation};
pub use config::{Config, NamedRuntime};
pub use container::start::{AttachEndpoint, Started};
pub use container::*;
pub use difference::{Difference, NewDifference};
pub use events::Event;
pub use exchange::{Envelopes, Exchange};
pub use exec::{CreateExec, CreatedExec, ExecView};
pub use failpoint::FAILPOINTS;
pub use filters::Filters;
pub use gantry_core::volume::{NewVolume, VolumeRecord};
pub use gantry_task::{NewSandbox, SandboxEnd, SandboxMetric, SandboxPlatform, SandboxStarted, SandboxState};
pub use image::*;
pub use keeper::{Keeper, View};
pub use meta::Meta;
pub use network::{
    Attachment, BridgeConfig, ClusterConfig, CniConfig, Connect, ContainerNetworks, Firewall, Member, NetworkConfig,
    NetworkView, Traffic,
};
pub use sandboxes::{RunningSandbox, SandboxView, Sandboxes};
pub use system::{ContainerUsage, EventStream, ImageUsage, Info, Measure, Usage};
pub use tasks::{
    Blob, Deleted, Endpoint, Metric, NewCheckpoint, NewExec, NewTask, Pid, Process, ProcessExit, ProcessStatus,
    RESTART_POLICIES, Stdio, TaskUpdate, Tasks,
};
pub use transfer::{FromStore, MoreNames, ReadArchive, ToStore};
pub use volume::{Pruned, VolumeView};

use context::Context;
use gantry_core::{Error, Result};
use std::sync::Arc;

/// The engine: cheap to clone, shared by all doors.
#[derive(Clone)]
pub struct Engine {
    pub(crate) context: Arc<Context>,
}

/// What the engine is built from; gantryd makes these.
pub struct Parts {
    pub config: Config,
    pub store: Arc<gantry_store::Store>,
    pub snapshots: gantry_store::SnapshotStore,
    pub images: gantry_image::ImageService,
    pub shims: gantry_task::Shims,
    pub collector: Arc<gantry_store::Collector>,
}

impl Engine {
    /// Opens the engine: reads the records and starts a keeper for each container. It does not wait for containers: each
    /// is compared with the kernel by its own keeper.
    pub async fn open(parts: Parts) -> Result<Self> {
        let context = Arc::new(Context::new(parts).await?);
        records::sources(&context.collector);
        let worker = context.clone();
        gate::blocking(move || worker.networks.predefine(&worker)).await?;
        let worker = context.clone();
        tokio::task::spawn_blocking(move || worker.networks.bring_up());
        let worker = context.clone();
        let found = gate::blocking(move || records::load(&worker)).await?;
        let worker = context.clone();
        let found = gate::blocking(move || {
            worker.volumes.compare(&found);
            Ok(found)
        })
        .await?;
        context.volumes.bury(&context);
        let mut again = Vec::new();
        for (record, course) in found {
            let starts = keeper::starts_at_boot(&record, &course);
            let keeper = Keeper::resume(context.clone(), Arc::new(record), course);
            context.registry.insert(keeper.clone());
            if starts {
                again.push(keeper);
            }
        }
        context.networks.sweep(&context);
        context.activations.keep();
        context.networks.follow(&context);
        exec::recover(&context).await?;
        context.tasks.recover().await?;
        context.sandboxes.recover().await?;
        let engine = Self { context };
        engine.sweep_strangers().await?;
        engine.context.opened.send_replace(true);
        for keeper in again {
            tokio::spawn(async move { keeper.start_at_boot().await });
        }
        Ok(engine)
    }

    /// Namespaces, containers, images and sandboxes as containerd's clients keep them.
    pub fn meta(&self) -> &Meta {
        &self.context.meta
    }

    /// The events of the containerd API.
    pub fn exchange(&self) -> &Exchange {
        &self.context.exchange
    }

    /// Mounts that are kept for clients of the containerd API. Its methods block.
    pub fn activations(&self) -> Arc<Activations> {
        self.context.activations.clone()
    }

    /// Layers to directories and back.
    pub fn difference(&self) -> Difference {
        let images = &self.context.images;
        let at = self.context.config.exec_root.join("difference");
        Difference::new(images.content(), images.limits().clone(), at).activating(self.activations())
    }

    /// Stops every running container, at most `limit` in all (`live-restore: false`).
    pub async fn stop_all(&self, limit: std::time::Duration) {
        self.context.closing.store(true, std::sync::atomic::Ordering::Relaxed);
        let seconds = i32::try_from(limit.as_secs()).unwrap_or(i32::MAX);
        let mut tasks = tokio::task::JoinSet::new();
        for keeper in self.context.registry.all() {
            let engine = self.clone();
            tasks.spawn(async move {
                // A start that came before waits for its former run to be cleared, and is stopped then.
                let waits =
                    |view: &View| matches!(view.state, gantry_core::lifecycle::State::Clearing { start: true, .. });
                keeper.until(Some(limit), |view| !waits(view)).await;
                let own = keeper.record().config.stop_timeout.unwrap_or(10);
                let timeout = if own < 0 { seconds } else { own.min(seconds) };
                let options = StopOptions {
                    timeout: Some(timeout),
                    signal: String::new(),
                };
                if let Err(error) = engine.stop_as(&keeper, options, false).await {
                    tracing::warn!(container = %keeper.id(), err = %error, "the container could not be stopped");
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Waits until the files of what was removed are deleted, at most `limit`: the last thing before an orderly end.
    pub async fn close(&self, limit: std::time::Duration) {
        self.context.background.close(limit).await;
        let context = self.context.clone();
        // Whatever it could not take away it has said.
        let _ = gate::blocking(move || {
            context.networks.close();
            Ok(())
        })
        .await;
    }

    fn find(&self, name: &str) -> Result<Arc<Keeper>> {
        self.context.registry.find(name)
    }
}

/// Runs an operation that changes state to its end, whether or not the one who asked is still there.
async fn finish<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    use tracing::Instrument;
    match tokio::spawn(work.in_current_span()).await {
        Ok(result) => result,
        Err(join) => Err(Error::internal(format!("the operation ended early: {join}"))),
    }
}
