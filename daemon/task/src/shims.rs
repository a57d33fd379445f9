//! The manager: starts shims, knows where their things are.

use crate::bundle::{self, Bundle, BundleName};
use crate::error::{Result, TaskError};
use crate::exe::Exe;
use crate::reconnect::AT_ONCE;
use crate::shim::Shim;
use crate::spawn::Invocation;
use gantry_core::{ContainerId, Namespace};
use gantry_shim_protocol::Bootstrap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Where everything of one daemon's shims is.
#[derive(Clone, Debug)]
pub struct ShimsConfig {
    pub exec_root: PathBuf,
    /// The shim program: see [`crate::find_shim`].
    pub shim: PathBuf,
    /// The daemon's gRPC socket, which names it to its shims: sockets of other daemons' shims have other names.
    pub grpc_address: String,
    pub debug: bool,
    pub deadlines: Deadlines,
}

/// How long an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// A shim's address after its process was started.
    pub spawn: Duration,
    /// A connection and first answer when a shim is found again.
    pub reconnect: Duration,
    /// What only asks, signals or sets something.
    pub call: Duration,
    /// Create, start, exec and delete: hooks run in them, which have time-outs of their own.
    pub work: Duration,
    /// Killing and clearing what a dead shim left.
    pub cleanup: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            spawn: Duration::from_secs(10),
            reconnect: Duration::from_secs(5),
            call: Duration::from_secs(10),
            work: Duration::from_secs(600),
            cleanup: Duration::from_secs(10),
        }
    }
}

/// A shim to be started, for one task.
#[derive(Clone, Debug)]
pub struct StartShim {
    pub namespace: Namespace,
    pub id: ContainerId,
    /// `config.json`, byte for byte.
    pub spec: Vec<u8>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Shims {
    config: Arc<ShimsConfig>,
    /// Where shims tell what happens.
    events: Arc<str>,
    /// Where bundles of clients' tasks are, by namespace and id.
    bundles: Arc<Path>,
    pub(crate) exe: Arc<Exe>,
    /// Who looks for a shim takes a turn.
    pub(crate) looks: Arc<Semaphore>,
}

impl Shims {
    /// Shims tell what happens at `<grpc_address>.ttrpc`; see [`Shims::telling`].
    pub fn new(config: ShimsConfig) -> Self {
        Self {
            events: format!("{}.ttrpc", config.grpc_address).into(),
            bundles: config.exec_root.as_path().into(),
            exe: Arc::new(Exe::new(&config.shim)),
            looks: Arc::new(Semaphore::new(AT_ONCE)),
            config: Arc::new(config),
        }
    }

    /// With another socket of the daemon's for what shims tell.
    pub fn telling(self, events: &str) -> Self {
        Self {
            events: events.into(),
            ..self
        }
    }

    /// With the bundles of clients' tasks elsewhere than right in the exec root, where the engine's own stay.
    pub fn laying(self, bundles: &Path) -> Self {
        Self {
            bundles: bundles.into(),
            ..self
        }
    }

    /// The directories of bundles.
    pub(crate) fn bundle_roots(&self) -> Vec<&Path> {
        let mut roots = vec![self.config.exec_root.as_path()];
        if *roots[0] != *self.bundles {
            roots.push(&self.bundles);
        }
        roots
    }

    fn bundle_root(&self, namespace: &Namespace) -> &Path {
        match *namespace == Namespace::engine() {
            true => &self.config.exec_root,
            false => &self.bundles,
        }
    }

    pub(crate) fn events(&self) -> &str {
        &self.events
    }

    pub fn config(&self) -> &ShimsConfig {
        &self.config
    }

    /// Directory of the shims' sockets.
    pub fn socket_dir(&self) -> PathBuf {
        self.config.exec_root.join("s")
    }

    pub fn bundle(&self, namespace: &Namespace, id: &ContainerId) -> Bundle {
        Bundle::new(self.bundle_root(namespace), namespace, id)
    }

    /// Makes the bundle, runs the shim and connects to it. What a failure leaves is the caller's to clean up ([`Shims::cleanup`]).
    pub async fn start(&self, start: StartShim) -> Result<Shim> {
        let shims = self.clone();
        let (namespace, id) = (start.namespace.clone(), start.id.clone());
        let bootstrap = blocking("start a shim", move || shims.spawn(&start)).await?;
        self.connect(namespace, id, bootstrap, self.config.deadlines.call).await
    }

    fn spawn(&self, start: &StartShim) -> Result<Bootstrap> {
        let config = &self.config;
        let bundle = self.bundle(&start.namespace, &start.id);
        bundle.make(&start.spec)?;
        Invocation {
            exe: &self.exe,
            program: &config.shim,
            bundle: bundle.path(),
            namespace: start.namespace.as_str(),
            id: start.id.as_str(),
            grpc_address: &config.grpc_address,
            ttrpc_address: self.events(),
            publish_binary: &config.shim,
            socket_dir: &self.socket_dir(),
            debug: config.debug,
            stdin: Vec::new(),
        }
        .run(config.deadlines.spawn)
        .map_err(|error| with_shim_log(error, &bundle))
    }

    pub(crate) async fn connect(
        &self,
        namespace: Namespace,
        id: ContainerId,
        bootstrap: Bootstrap,
        limit: Duration,
    ) -> Result<Shim> {
        let bundle = self.bundle(&namespace, &id);
        Shim::connect(namespace, id, bundle, bootstrap, self.config.deadlines, limit).await
    }

    /// Every bundle there is, for finding those that nobody knows. Blocks.
    pub fn list_bundles(&self) -> Result<Vec<BundleName>> {
        let mut all = Vec::new();
        for root in self.bundle_roots() {
            let found = bundle::list(root)?.into_iter();
            all.extend(found.filter(|name| self.bundle_root(&name.namespace) == root));
        }
        Ok(all)
    }
}

/// Adds what the shim wrote to its own log to what it said when it could not start.
fn with_shim_log(error: TaskError, bundle: &Bundle) -> TaskError {
    let log = bundle.shim_log();
    match error {
        TaskError::ShimRefused { id, status, said } if !log.is_empty() && !said.contains(&log) => {
            TaskError::ShimRefused {
                id,
                status,
                said: format!("{said}; {log}"),
            }
        }
        TaskError::ShimSilent { id, after, said } if !log.is_empty() && !said.contains(&log) => TaskError::ShimSilent {
            id,
            after,
            said: format!("{said}; {log}"),
        },
        error => error,
    }
}

/// Runs what blocks on a thread for it. Once begun it goes on to its end, whether or not anyone still waits for it.
pub(crate) async fn blocking<T: Send + 'static>(
    deed: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(TaskError::Stopping { deed }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_of_clients_may_lie_apart_and_all_are_listed() {
        let root = tempfile::tempdir().unwrap();
        let config = ShimsConfig {
            exec_root: root.path().to_owned(),
            shim: "/nonexistent".into(),
            grpc_address: "/g.sock".to_owned(),
            debug: false,
            deadlines: Deadlines::default(),
        };
        let tasks = root.path().join("io.containerd.runtime.v2.task");
        let shims = Shims::new(config).laying(&tasks);
        // Ids that are files of a bundle, too.
        let (own, client) = (Namespace::engine(), Namespace::new("client").unwrap());
        for (namespace, id, at) in [
            (&own, "c1", root.path().join("gantry/c1")),
            (&client, "rootfs", tasks.join("client/rootfs")),
        ] {
            let bundle = shims.bundle(namespace, &ContainerId::new(id).unwrap());
            bundle.make(b"{}").unwrap();
            assert_eq!(bundle.path(), at);
        }
        let names = || -> Vec<String> {
            let all = shims.list_bundles().unwrap().into_iter();
            all.map(|name| format!("{}/{}", name.namespace, name.id)).collect()
        };
        assert_eq!(names(), ["gantry/c1", "client/rootfs"]);
        for (namespace, id) in [(&own, "c1"), (&client, "rootfs")] {
            shims.bundle(namespace, &ContainerId::new(id).unwrap()).leave().unwrap();
        }
        let left = shims.leaving().unwrap();
        assert_eq!(left.len(), 2);
        left.iter().for_each(|leaving| leaving.remove().unwrap());
        assert!(names().is_empty());
    }
}
