//! The engine's own containers as clients of the containerd API see them: to be watched, and not to be changed but by the engine.

use crate::records;
use gantry_core::container::ContainerRecord;
use gantry_core::meta::{Any, Container, RuntimeChoice};
use gantry_core::{ContainerId, Error, Namespace, Result};
use gantry_store::Store;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

const RUNTIME: &str = "io.containerd.gantry.v1";
const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// Where the engine keeps what runs.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) exec_root: PathBuf,
}

impl Own {
    pub(super) fn all(&self, store: &Store, ns: &Namespace) -> Result<Vec<Container>> {
        let records = records::containers(store, ns)?;
        Ok(records.into_iter().map(|record| self.shown(ns, record)).collect())
    }

    pub(super) fn find(&self, store: &Store, key: &(Namespace, ContainerId)) -> Result<Option<Container>> {
        let record = records::container(store, key)?;
        Ok(record.map(|record| self.shown(&key.0, record)))
    }

    fn shown(&self, ns: &Namespace, record: ContainerRecord) -> Container {
        Container {
            spec: Some(Any {
                type_url: SPEC.to_owned(),
                value: self.running_spec(ns, &record.id).unwrap_or_else(|| plain_spec(&record)),
            }),
            id: record.id,
            labels: record.config.labels,
            image: record.config.image,
            runtime: RuntimeChoice {
                name: RUNTIME.to_owned(),
                options: None,
            },
            snapshotter: record.snapshotter,
            snapshot_key: record.snapshot_key,
            created_at: record.created_at,
            updated_at: record.created_at,
            extensions: BTreeMap::new(),
            sandbox: String::new(),
        }
    }

    /// What it runs with; none while it does not run.
    fn running_spec(&self, ns: &Namespace, id: &ContainerId) -> Option<Vec<u8>> {
        std::fs::read(self.exec_root.join(ns.as_str()).join(id.as_str()).join("config.json")).ok()
    }
}

/// What its record says without this host's part in it.
fn plain_spec(record: &ContainerRecord) -> Vec<u8> {
    let config = &record.config;
    let cwd = match config.working_dir.as_str() {
        "" => "/",
        dir => dir,
    };
    let spec = json!({
        "ociVersion": "1.2.0",
        "process": {
            "args": record.args, "env": config.env, "cwd": cwd, "terminal": config.tty, "user": {"uid": 0, "gid": 0},
        },
        "root": {"path": "rootfs"},
    });
    spec.to_string().into_bytes()
}

/// Why a client may not change it.
pub(super) fn refuse(store: &Store, key: &(Namespace, ContainerId), deed: &str) -> Result<()> {
    match records::container(store, key)? {
        None => Ok(()),
        Some(record) => Err(Error::precondition(format!(
            "{deed} container {}: it is container {} of the engine; use that to do it",
            record.id, record.name
        ))),
    }
}
