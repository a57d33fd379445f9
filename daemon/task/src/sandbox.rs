//! Sandboxes: shims that are there before their tasks. Their bundles and sockets are beside those of tasks, so that a sandbox and a
//! task may bear one name.

use crate::bundle::BundleName;
use crate::error::{Result, TaskError};
use crate::shim::Shim;
use crate::shims::{Shims, ShimsConfig, blocking};
use gantry_core::Mount;
use gantry_core::meta::Any;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// Below the exec root; no namespace can be called so.
const HOME: &str = ".sandboxes";
/// How long a shim may take to end after its sandbox was shut down.
const FAREWELL: Duration = Duration::from_secs(3);

/// What a sandbox is made with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSandbox {
    pub rootfs: Vec<Mount>,
    pub options: Option<Any>,
    pub netns_path: String,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxStarted {
    pub pid: u32,
    pub created_at: Option<SystemTime>,
    pub spec: Option<Any>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxPlatform {
    pub os: String,
    pub architecture: String,
    pub variant: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SandboxEnd {
    pub status: u32,
    pub at: SystemTime,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxState {
    pub pid: u32,
    /// The shim's own word.
    pub state: String,
    pub info: BTreeMap<String, String>,
    pub created_at: Option<SystemTime>,
    pub exited_at: Option<SystemTime>,
    pub extra: Option<Any>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxMetric {
    pub at: Option<SystemTime>,
    pub id: String,
    pub data: Option<Any>,
}

impl Shims {
    /// The same daemon's shims that are sandboxes.
    pub fn for_sandboxes(&self) -> Self {
        let config = ShimsConfig {
            exec_root: self.config().exec_root.join(HOME),
            ..self.config().clone()
        };
        Self::new(config).telling(self.events())
    }

    /// Bundles of sandboxes, on what [`Shims::for_sandboxes`] answers. Blocks.
    pub fn sandbox_bundles(&self) -> Result<Vec<BundleName>> {
        match self.config().exec_root.exists() {
            true => self.list_bundles(),
            false => Ok(Vec::new()),
        }
    }

    /// The shim of a sandbox after a restart; none if it is gone, or does not have it.
    pub async fn rejoin_sandbox(&self, name: &BundleName) -> Result<Option<Shim>> {
        let bundle = self.bundle(&name.namespace, &name.id);
        let bootstrap = blocking("find a shim", move || bundle.bootstrap()).await?;
        let Some(bootstrap) = bootstrap else { return Ok(None) };
        let limit = self.config().deadlines.reconnect;
        let connected = self
            .connect(name.namespace.clone(), name.id.clone(), bootstrap, limit)
            .await;
        let shim = match connected {
            Ok(shim) => shim,
            Err(TaskError::Connect { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match shim.sandbox_state(false, limit).await {
            Ok(_) => Ok(Some(shim)),
            Err(TaskError::Refused { .. } | TaskError::Lost { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits a moment for a shim that was told to end, ends it if it does not, and clears what is left of it.
    pub async fn bury(&self, shim: Shim) -> Result<()> {
        let name = BundleName {
            namespace: shim.namespace().clone(),
            id: shim.id().clone(),
        };
        if tokio::time::timeout(FAREWELL, shim.gone()).await.is_err() {
            self.put_down(&name).await?;
        }
        drop(shim);
        self.mourn(&name).await.map(drop)
    }
}
