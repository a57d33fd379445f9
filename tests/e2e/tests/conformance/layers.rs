//! The snapshots service as a snapshotter.

use crate::remote::{Place, Remote, mask, time};
use gantry_core::snapshot::{
    ApplyTarget, CommitOptions, SnapshotInfo, SnapshotKind, SnapshotOptions, SnapshotService, Usage, Whiteouts,
};
use gantry_core::{Error, Labels, Mount, Namespace, Result};
use gantry_proto_containerd::services::introspection::v1::PluginsRequest;
use gantry_proto_containerd::services::snapshots::v1 as pb;
use gantry_proto_containerd::types;
use std::path::PathBuf;

pub struct RemoteLayers {
    remote: Remote,
}

impl RemoteLayers {
    pub fn new(place: &Place) -> Self {
        Self { remote: place.remote() }
    }
}

pub fn mounts(found: Vec<types::Mount>) -> Vec<Mount> {
    let one = |mount: types::Mount| Mount {
        kind: mount.r#type,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    };
    found.into_iter().map(one).collect()
}

fn info(info: pb::Info) -> SnapshotInfo {
    let kind = match info.kind() {
        pb::Kind::View => SnapshotKind::View,
        pb::Kind::Active => SnapshotKind::Active,
        pb::Kind::Committed => SnapshotKind::Committed,
        pb::Kind::Unknown => panic!("{info:?}"),
    };
    SnapshotInfo {
        kind,
        name: info.name,
        parent: Some(info.parent).filter(|parent| !parent.is_empty()),
        labels: info.labels,
        created_at: time(info.created_at),
        updated_at: time(info.updated_at),
        verified: false,
    }
}

impl SnapshotService for RemoteLayers {
    fn prepare(
        &self,
        ns: &Namespace,
        snapshotter: &str,
        key: &str,
        parent: Option<&str>,
        options: SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        let request = pb::PrepareSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
            parent: parent.unwrap_or_default().to_owned(),
            labels: options.labels,
        };
        let answer = self.remote.run(self.remote.caller(ns).snapshots().prepare(request))?;
        Ok(mounts(answer.into_inner().mounts))
    }

    fn view(
        &self,
        ns: &Namespace,
        snapshotter: &str,
        key: &str,
        parent: Option<&str>,
        options: SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        let request = pb::ViewSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
            parent: parent.unwrap_or_default().to_owned(),
            labels: options.labels,
        };
        let answer = self.remote.run(self.remote.caller(ns).snapshots().view(request))?;
        Ok(mounts(answer.into_inner().mounts))
    }

    fn mounts(&self, ns: &Namespace, snapshotter: &str, key: &str) -> Result<Vec<Mount>> {
        let request = pb::MountsRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
        };
        let answer = self.remote.run(self.remote.caller(ns).snapshots().mounts(request))?;
        Ok(mounts(answer.into_inner().mounts))
    }

    fn commit(&self, ns: &Namespace, snapshotter: &str, name: &str, key: &str, options: CommitOptions) -> Result<()> {
        let request = pb::CommitSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            name: name.to_owned(),
            key: key.to_owned(),
            labels: options.labels,
            parent: options.parent.unwrap_or_default(),
        };
        self.remote
            .run(self.remote.caller(ns).snapshots().commit(request))
            .map(drop)
    }

    fn remove(&self, ns: &Namespace, snapshotter: &str, key: &str) -> Result<()> {
        let request = pb::RemoveSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
        };
        self.remote
            .run(self.remote.caller(ns).snapshots().remove(request))
            .map(drop)
    }

    fn stat(&self, ns: &Namespace, snapshotter: &str, key: &str) -> Result<SnapshotInfo> {
        let request = pb::StatSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
        };
        let answer = self.remote.run(self.remote.caller(ns).snapshots().stat(request))?;
        Ok(info(answer.into_inner().info.unwrap()))
    }

    fn label(&self, ns: &Namespace, snapshotter: &str, key: &str, labels: &Labels) -> Result<SnapshotInfo> {
        let request = pb::UpdateSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            info: Some(pb::Info {
                name: key.to_owned(),
                labels: labels.clone(),
                ..pb::Info::default()
            }),
            update_mask: mask(labels.keys()),
        };
        let answer = self.remote.run(self.remote.caller(ns).snapshots().update(request))?;
        Ok(info(answer.into_inner().info.unwrap()))
    }

    fn list(&self, ns: &Namespace, snapshotter: &str) -> Result<Vec<SnapshotInfo>> {
        let request = pb::ListSnapshotsRequest {
            snapshotter: snapshotter.to_owned(),
            filters: Vec::new(),
        };
        let mut client = self.remote.caller(ns).snapshots();
        self.remote.run(async {
            let mut pages = client.list(request).await?.into_inner();
            let mut found = Vec::new();
            while let Some(page) = pages.message().await? {
                found.extend(page.info.into_iter().map(info));
            }
            Ok(found)
        })
    }

    fn usage(&self, ns: &Namespace, snapshotter: &str, key: &str) -> Result<Usage> {
        let request = pb::UsageRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
        };
        let used = self
            .remote
            .run(self.remote.caller(ns).snapshots().usage(request))?
            .into_inner();
        Ok(Usage {
            size: used.size.try_into().unwrap(),
            inodes: used.inodes.try_into().unwrap(),
        })
    }

    /// A client reads from the mounts where it may write.
    fn apply_target(&self, ns: &Namespace, snapshotter: &str, key: &str) -> Result<ApplyTarget> {
        let mounts = self.mounts(ns, snapshotter, key)?;
        let [mount] = mounts.as_slice() else {
            return Err(Error::precondition(format!("more than one mount: {mounts:?}")));
        };
        let option = |name: &str| mount.options.iter().find_map(|option| option.strip_prefix(name));
        Ok(match option("upperdir=") {
            Some(upper) => ApplyTarget {
                dir: upper.into(),
                whiteouts: Whiteouts::Overlay,
                lower: option("lowerdir=")
                    .unwrap_or_default()
                    .split(':')
                    .map(PathBuf::from)
                    .collect(),
            },
            None => ApplyTarget {
                dir: mount.source.clone().into(),
                whiteouts: Whiteouts::Plain,
                lower: Vec::new(),
            },
        })
    }

    fn can_rebase(&self, snapshotter: &str) -> Result<bool> {
        let filters = vec![format!("type==io.containerd.snapshotter.v1,id=={snapshotter}")];
        let request = PluginsRequest { filters };
        let found = self
            .remote
            .run(self.remote.anybody().introspection().plugins(request))?
            .into_inner();
        let capabilities = found.plugins.into_iter().flat_map(|plugin| plugin.capabilities);
        Ok(capabilities.into_iter().any(|one| one == "rebase"))
    }
}
