//! Inspect: everything known, from published state.

use crate::Engine;
use crate::keeper::View;
use crate::network::plan;
use gantry_core::container::{ContainerRecord, NetworkMode};
use gantry_core::snapshot::SnapshotService;
use gantry_core::volume::MountPoint;
use gantry_core::{Mount, Result};
use gantry_task::attach::AttachState;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a shim may take to say who is attached before inspect answers without.
const ATTACHED: Duration = Duration::from_millis(500);
/// How long the store may take for what is not in memory.
const STORED: Duration = Duration::from_secs(2);

pub struct Inspected {
    pub record: Arc<ContainerRecord>,
    pub view: View,
    pub state_dir: PathBuf,
    pub log_path: Option<PathBuf>,
    pub mounts: Vec<Mount>,
    pub exec_ids: Vec<String>,
    pub attached: Option<AttachState>,
    pub size: Option<(u64, u64)>,
    pub networks: crate::ContainerNetworks,
    /// What is mounted in it, with the directories of volumes.
    pub points: Vec<MountPoint>,
}

impl Engine {
    pub async fn inspect(&self, name: &str, size: bool) -> Result<Inspected> {
        let keeper = self.find(name)?;
        let (record, view) = (keeper.record(), keeper.view());
        let size = if size { Some(self.size_of(&record).await?) } else { None };
        let attached = match &view.shim {
            Some(shim) => tokio::time::timeout(ATTACHED, shim.attach_state(None))
                .await
                .ok()
                .and_then(std::result::Result::ok),
            None => None,
        };
        let mounts = tokio::time::timeout(STORED, self.mounts_of(&record))
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default();
        let state_dir = self.context.state_dir(&record.id);
        let log_path =
            (self.context.log(&record).0 == "json-file").then(|| state_dir.join(format!("{}-json.log", record.id)));
        let exec_ids = self.context.execs.of(&record.id);
        let networks = self.context.networks.of_container(&record, &view.state);
        let view = View {
            state: view.told(&record.host),
            ..view
        };
        let record = self.with_named_links(record);
        Ok(Inspected {
            record,
            view,
            state_dir,
            log_path,
            mounts,
            exec_ids,
            attached,
            size,
            networks,
            points: self.context.volumes.points(&keeper.record()),
        })
    }

    /// Legacy links by the names that their containers have now; those that are gone are not told of.
    fn with_named_links(&self, record: Arc<ContainerRecord>) -> Arc<ContainerRecord> {
        if record.host.links.is_empty() || record.host.network_mode != NetworkMode::Bridge {
            return record;
        }
        let mut shown = ContainerRecord::clone(&record);
        let named = |text: &String| {
            let (id, alias) = plan::link(text);
            let other = self.context.registry.find(id).ok()?;
            Some(format!("{}:{alias}", other.record().name))
        };
        shown.host.links = record.host.links.iter().filter_map(named).collect();
        Arc::new(shown)
    }

    pub(crate) async fn mounts_of(&self, record: &Arc<ContainerRecord>) -> Result<Vec<Mount>> {
        let (context, record) = (self.context.clone(), record.clone());
        crate::gate::blocking(move || {
            context
                .snapshots
                .mounts(&context.namespace, &record.snapshotter, &record.snapshot_key)
        })
        .await
    }
}
