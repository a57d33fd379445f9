//! Making the rooms and putting them together, from the lowest floor up.

use crate::config::Settings;
use crate::driver;
use crate::error::{Error, Result};
use crate::{libc_unsafe, limits, socket};
use gantry_engine::{Config, Engine, Parts};
use gantry_image::{ImageService, ImageSettings, RegistryConfig};
use gantry_store::{BlobStore, Collector, Damage, Leases, SnapshotStore, Store, StoreOptions};
use gantry_task::{Deadlines, Shims, ShimsConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// Memory is given back to the kernel this often, and for the first time soon after the start.
const TRIM: Duration = Duration::from_secs(15);
const FIRST_TRIM: Duration = Duration::from_secs(2);
/// Collections beside those that removals ask for: leases expire, and a kill may have left something.
const COLLECT: Duration = Duration::from_secs(600);

/// What the daemon holds on to.
pub struct Rooms {
    pub engine: Engine,
    /// For the door of containerd's API.
    pub containerd: gantry_api_containerd::Rooms,
}

/// Where the metadata store of a data root is.
pub fn store_dir(data_root: &Path) -> PathBuf {
    data_root.join("store")
}

/// What is below the engine.
struct Lower {
    store: Arc<Store>,
    content: Arc<BlobStore>,
    snapshots: SnapshotStore,
    collector: Arc<Collector>,
    snapshotter: String,
}

/// Opens everything. It does not wait for containers.
pub async fn open(settings: &Settings) -> Result<Rooms> {
    let owned = settings.clone();
    let lower = tokio::task::spawn_blocking(move || open_lower(&owned))
        .await
        .map_err(|join| Error::System {
            deed: "open the store",
            source: std::io::Error::other(join),
        })??;
    // Leases hold what is on its way in against a collection that runs meanwhile.
    let leases = Arc::new(Leases::new(lower.store.clone()));
    let image_settings = image_settings(settings, &lower.snapshotter);
    let images = ImageService::with_leases(
        lower.content.clone(),
        Arc::new(lower.snapshots.clone()),
        Some(leases.clone()),
        image_settings,
    )?;
    let shims = Shims::new(ShimsConfig {
        exec_root: settings.exec_root.clone(),
        shim: gantry_task::find_shim().map_err(gantry_core::Error::from)?,
        grpc_address: settings.address.to_string_lossy().into_owned(),
        debug: settings.debug,
        deadlines: deadlines(settings),
    });
    let shims = shims.telling(&socket::for_shims(settings).to_string_lossy());
    let shims = match settings.tuning.bundles {
        Some(apart) => shims.laying(&settings.exec_root.join(apart)),
        None => shims,
    };
    let born_with = limits::raise_open_files();
    let collector = lower.collector.clone();
    let parts = Parts {
        config: engine_config(settings, &lower.snapshotter, born_with),
        store: lower.store,
        snapshots: lower.snapshots.clone(),
        images,
        shims,
        collector: lower.collector,
    };
    let engine = Engine::open(parts).await?;
    let containerd = gantry_api_containerd::Rooms {
        engine: engine.clone(),
        content: lower.content,
        snapshots: Arc::new(lower.snapshots),
        leases,
        background: Arc::new(collector.clone().background().map_err(gantry_core::Error::from)?),
        collector,
        about: about(settings),
    };
    check_plugins(settings, &gantry_api_containerd::plugin_names(&containerd))?;
    Ok(Rooms { engine, containerd })
}

fn open_lower(settings: &Settings) -> Result<Lower> {
    let scope = scope(&identify(&settings.data_root)?);
    let store =
        Store::open(&store_dir(&settings.data_root), &StoreOptions::default()).map_err(gantry_core::Error::from)?;
    for damage in store.damage() {
        tell(&damage);
    }
    let snapshotters = driver::open(settings, &scope)?;
    info!(driver = %snapshotters.default, "storage driver chosen");
    let root = settings.data_root.join("content");
    let content = BlobStore::open(store.clone(), &root, settings.tuning.sharing).map_err(gantry_core::Error::from)?;
    let snapshots = SnapshotStore::new(store.clone(), snapshotters.all, settings.tuning.sharing);
    finish_and_undo(&content, &snapshots)?;
    let orphans = Leases::new(store.clone())
        .end_orphans()
        .map_err(gantry_core::Error::from)?;
    if orphans > 0 {
        info!(
            orphans,
            "operations of a former daemon were cut short; what only they held is collected"
        );
    }
    let collector = Arc::new(Collector::new(store.clone(), content.clone(), snapshots.clone()));
    Ok(Lower {
        store,
        content: Arc::new(content),
        snapshots,
        collector,
        snapshotter: snapshotters.default,
    })
}

/// The number that tells this data root's daemon from any other, made once; the one that a containerd had, if it was its root.
fn identify(data_root: &Path) -> Result<String> {
    let (ours, theirs) = (data_root.join(gantry_api_engine::ID_FILE), data_root.join("uuid"));
    let known = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Some(text.trim().to_owned()).filter(|id| !id.is_empty())
    };
    let id = match known(&ours).or_else(|| known(&theirs)) {
        Some(id) => id,
        None => std::fs::read_to_string("/proc/sys/kernel/random/uuid")
            .map_err(Error::path("read", "/proc/sys/kernel/random/uuid"))?
            .trim()
            .to_owned(),
    };
    for path in [&ours, &theirs] {
        if known(path).as_ref() != Some(&id) {
            let fresh = path.with_extension("new");
            let made = std::fs::write(&fresh, format!("{id}\n")).and_then(|()| std::fs::rename(&fresh, path));
            made.map_err(Error::path("write", path))?;
        }
    }
    Ok(id)
}

/// What this daemon's snapshots are called at services outside; others may use the same service.
fn scope(id: &str) -> String {
    let number: String = id.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    format!("gantry-{number}")
}

/// What clients of containerd's API are told of this daemon.
fn about(settings: &Settings) -> gantry_api_containerd::About {
    let uuid = std::fs::read_to_string(settings.data_root.join(gantry_api_engine::ID_FILE)).unwrap_or_default();
    let tuning = &settings.tuning;
    let outside = settings.proxies.iter().map(|proxy| {
        let shown = gantry_api_containerd::Outside {
            address: proxy.address.clone(),
            platform: proxy.platform.clone(),
            exports: proxy.exports.clone(),
            capabilities: proxy.capabilities.clone(),
        };
        (proxy.name.clone(), shown)
    });
    gantry_api_containerd::About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: env!("GANTRY_GIT_COMMIT").to_owned(),
        uuid: uuid.trim().to_owned(),
        root: settings.data_root.clone(),
        opt: settings.opt(),
        platforms: tuning.platforms.clone(),
        outside: outside.collect(),
        tends: tuning.tends(),
        messages: gantry_api_containerd::Messages {
            taken: tuning.largest_in,
            sent: tuning.largest_out,
        },
    }
}

/// A plugin that is required must be here; one that cannot be switched off is worth a word.
fn check_plugins(settings: &Settings, here: &[String]) -> Result<()> {
    let is_here = |id: &String| here.contains(id) || id == "io.containerd.metadata.v1.bolt";
    if let Some(id) = settings.tuning.required.iter().find(|id| !is_here(id)) {
        return Err(Error::Required { id: id.clone() });
    }
    for id in settings.tuning.disabled.iter().filter(|id| is_here(id)) {
        warn!("disabled_plugins: {id} is part of the daemon and is not switched off");
    }
    Ok(())
}

fn deadlines(settings: &Settings) -> Deadlines {
    let plain = Deadlines::default();
    Deadlines {
        reconnect: settings.tuning.shim_load.unwrap_or(plain.reconnect),
        cleanup: settings.tuning.shim_cleanup.unwrap_or(plain.cleanup),
        ..plain
    }
}

/// Compares records with files, as a kill may have left them.
fn finish_and_undo(content: &BlobStore, snapshots: &SnapshotStore) -> Result<()> {
    let blobs = content.reconcile().map_err(gantry_core::Error::from)?;
    for (ns, digest) in &blobs.damaged {
        warn!(%ns, %digest, "the bytes of a blob are missing or cut short; pull or load its image again");
    }
    snapshots.reconcile().map_err(gantry_core::Error::from)?;
    Ok(())
}

fn image_settings(settings: &Settings, snapshotter: &str) -> ImageSettings {
    ImageSettings {
        snapshotter: snapshotter.to_owned(),
        registry: RegistryConfig {
            insecure: settings.insecure_registries.clone(),
            ..RegistryConfig::default()
        },
        max_downloads: settings.max_concurrent_downloads,
        ..ImageSettings::default()
    }
}

fn tell(damage: &Damage) {
    match damage {
        Damage::Value { table, key, reason } => warn!(table, key, reason, "a damaged record is in quarantine"),
        Damage::Table(report) => {
            warn!(kept = %report.kept.display(), lost = report.lost.len(), "the store was repaired on a copy; the damaged original is kept");
        }
        Damage::TornLog { kept } => {
            warn!(kept = %kept.display(), "the store's log ended in a torn write, which is kept aside")
        }
    }
}

fn engine_config(settings: &Settings, snapshotter: &str, born_with: Option<gantry_core::container::Ulimit>) -> Config {
    let settings = settings.clone();
    let settings_id = settings.data_root.join(gantry_api_engine::ID_FILE);
    let mut default_ulimits = settings.default_ulimits;
    // The daemon's own limit is higher than what it was born with: containers get the latter.
    if !default_ulimits.iter().any(|limit| limit.name == "nofile") {
        default_ulimits.extend(born_with);
    }
    Config {
        data_root: settings.data_root,
        exec_root: settings.exec_root,
        snapshotter: snapshotter.to_owned(),
        cgroup_parent: settings.cgroup_parent,
        default_runtime: settings.default_runtime,
        runtimes: settings.runtimes,
        log: settings.log,
        default_ulimits,
        hook_spec: settings.hook_spec,
        seccomp_profile: settings.seccomp_profile,
        no_new_privileges: settings.no_new_privileges,
        shm_size: settings.shm_size,
        init: settings.presets.init,
        init_path: settings.presets.init_path,
        ipc_mode: settings.presets.ipc_mode,
        cgroupns_mode: settings.presets.cgroupns_mode,
        cpu_rt_period: settings.presets.cpu_rt_period,
        cpu_rt_runtime: settings.presets.cpu_rt_runtime,
        labels: settings.labels,
        insecure_registries: settings.insecure_registries,
        live_restore: settings.live_restore,
        debug: settings.debug,
        network: settings.network,
        id: std::fs::read_to_string(settings_id).unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        git_commit: env!("GANTRY_GIT_COMMIT").to_owned(),
    }
}

/// Work that has time: collections, and memory given back.
pub fn housekeeping(settings: &Settings, rooms: &Rooms) {
    let collections = rooms.containerd.background.clone();
    let first = tokio::time::Instant::now() + settings.tuning.first_collection;
    tokio::spawn(async move {
        let mut tick = tokio::time::interval_at(first, COLLECT);
        loop {
            tick.tick().await;
            collections.request();
        }
    });
    if settings.tuning.tends() {
        tokio::spawn(rooms.engine.tasks().tend(settings.tuning.tending));
    }
    tokio::spawn(async {
        tokio::time::sleep(FIRST_TRIM).await;
        let mut tick = tokio::time::interval(TRIM);
        loop {
            tick.tick().await;
            // It cannot fail, and what it answers does not matter.
            let _ = tokio::task::spawn_blocking(libc_unsafe::trim).await;
        }
    });
}
