//! What every use case leans on, made once at start.

use crate::activations::Activations;
use crate::background::Background;
use crate::container::prune::Pruning;
use crate::events::{Bus, Event};
use crate::exchange::Exchange;
use crate::gate::blocking;
use crate::meta::Meta;
use crate::network::Networks;
use crate::records;
use crate::registry::Registry;
use crate::tasks::{Furniture, Room};
use crate::volume::Volumes;
use crate::{Config, Parts, host};
use gantry_core::container::ContainerRecord;
use gantry_core::spec::{Defaults, HostFacts};
use gantry_core::{ContainerId, Labels, Namespace, Result};
use gantry_image::ImageService;
use gantry_store::{SnapshotStore, Store};
use gantry_task::Shims;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::watch;
use tracing::warn;

pub struct Context {
    pub config: Config,
    pub namespace: Namespace,
    pub store: Arc<Store>,
    pub snapshots: SnapshotStore,
    pub images: ImageService,
    pub shims: Shims,
    pub registry: Registry,
    pub execs: crate::exec::Execs,
    pub bus: Bus,
    pub exchange: Exchange,
    pub meta: Meta,
    pub(crate) networks: Arc<Networks>,
    pub(crate) volumes: Arc<Volumes>,
    pub(crate) activations: Arc<Activations>,
    /// What runs for clients of the containerd API.
    pub(crate) tasks: Arc<Room>,
    pub(crate) sandboxes: Arc<crate::sandboxes::Room>,
    pub facts: HostFacts,
    pub defaults: Defaults,
    pub collector: Arc<gantry_store::Collector>,
    pub(crate) background: Background,
    /// Containers and networks.
    pub(crate) pruning: Pruning,
    pub(crate) pruning_images: Pruning,
    pub(crate) pruning_volumes: Pruning,
    /// Everything was found again: containers may be started.
    pub(crate) opened: watch::Sender<bool>,
    /// The daemon is on its way out: what ends now is not run again.
    pub(crate) closing: AtomicBool,
}

impl Context {
    pub async fn new(parts: Parts) -> Result<Self> {
        let facts = blocking(|| Ok(host::gather())).await?;
        let exchange = Exchange::new(parts.store.clone());
        let meta = Meta::new(parts.store.clone(), parts.collector.clone()).showing(&parts.config.exec_root);
        let sandboxes =
            crate::sandboxes::Room::new(&parts.shims, meta.clone(), exchange.clone(), &parts.config.data_root);
        let (store, data_root, exec_root) = (
            parts.store.clone(),
            parts.config.data_root.clone(),
            parts.config.exec_root.clone(),
        );
        let activations = Arc::new(blocking(move || Activations::open(store, &data_root, &exec_root)).await?);
        parts.collector.reclaim_mounts(activations.clone());
        let tasks = Room::new(Furniture {
            activations: activations.clone(),
            shims: parts.shims.clone(),
            meta: meta.clone(),
            exchange: exchange.clone(),
            snapshots: Arc::new(parts.snapshots.clone()),
            content: parts.images.content(),
            sandboxes: sandboxes.clone(),
            data_root: parts.config.data_root.clone(),
        });
        let (store, network, exec_root) = (
            parts.store.clone(),
            parts.config.network.clone(),
            parts.config.exec_root.clone(),
        );
        let global_id = parts.config.global_id();
        let networks = blocking(move || Networks::open(network, store, &exec_root, global_id)).await?;
        let (store, data_root, exec_root) = (
            parts.store.clone(),
            parts.config.data_root.clone(),
            parts.config.exec_root.clone(),
        );
        let volumes = blocking(move || Volumes::open(store, &data_root, &exec_root)).await?;
        Ok(Self {
            networks: Arc::new(networks),
            volumes: Arc::new(volumes),
            activations,
            sandboxes,
            defaults: host::defaults(&parts.config),
            config: parts.config,
            namespace: Namespace::engine(),
            exchange,
            meta,
            tasks,
            store: parts.store,
            snapshots: parts.snapshots,
            images: parts.images,
            shims: parts.shims,
            registry: Registry::default(),
            execs: crate::exec::Execs::default(),
            bus: Bus::default(),
            facts,
            collector: parts.collector,
            background: Background::new(),
            pruning: Pruning::default(),
            pruning_images: Pruning::default(),
            pruning_volumes: Pruning::default(),
            opened: watch::channel(false).0,
            closing: AtomicBool::new(false),
        })
    }

    /// The directory of a container that outlives reboots: log, exit records, host files.
    pub fn state_dir(&self, id: &ContainerId) -> PathBuf {
        self.config.data_root.join("containers").join(id.as_str())
    }

    /// Where trees are mounted that only one thread sees.
    pub fn mount_point(&self) -> PathBuf {
        self.config.exec_root.join("view")
    }

    /// An event about a container, with Docker's attributes: labels, image, name.
    pub fn container_event(&self, record: &ContainerRecord, action: &str, extra: Labels) -> Event {
        let mut attributes = record.config.labels.clone();
        attributes.insert("image".to_owned(), record.config.image.clone());
        attributes.insert("name".to_owned(), record.name.clone());
        attributes.extend(extra);
        Event::new("container", action, record.id.as_str(), attributes)
    }

    /// Stores events that go with no change of state, and publishes them.
    pub async fn tell(self: &Arc<Self>, events: Vec<Event>) {
        let context = self.clone();
        match blocking(move || records::append_events(&context, events)).await {
            Ok(events) => self.bus.publish(events),
            Err(error) => warn!(err = %error, "an event could not be stored"),
        }
    }
}
