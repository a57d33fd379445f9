//! containerd.services.snapshots.v1.

use crate::call::{Answer, blocking, lease, namespace, refuse};
use crate::mask;
use crate::page::{Pages, pages};
use crate::{Door, mounts};
use gantry_core::filter;
use gantry_core::meta::Change;
use gantry_core::snapshot::{CommitOptions, SnapshotInfo, SnapshotKind, SnapshotOptions, SnapshotService};
use gantry_core::{Error, ErrorKind, Labels, Result};
use gantry_proto_containerd::services::snapshots::v1 as pb;
use gantry_proto_containerd::time::timestamp;
use gantry_store::SnapshotStore;
use std::sync::Arc;
use tonic::{Request, Response, Status};

impl Door {
    /// The snapshots, if there is a snapshotter of that name.
    fn snapshotter(&self, name: &str) -> std::result::Result<Arc<SnapshotStore>, Status> {
        if name.is_empty() {
            return Err(refuse(Error::invalid("snapshotter argument missing")));
        }
        let snapshots = &self.rooms.snapshots;
        if !snapshots.backends().any(|backend| backend.name() == name) {
            return Err(refuse(Error::invalid(format!("snapshotter not loaded: {name}"))));
        }
        Ok(snapshots.clone())
    }
}

fn info(info: SnapshotInfo) -> pb::Info {
    let kind = match info.kind {
        SnapshotKind::View => pb::Kind::View,
        SnapshotKind::Active => pb::Kind::Active,
        SnapshotKind::Committed => pb::Kind::Committed,
    };
    pb::Info {
        name: info.name,
        parent: info.parent.unwrap_or_default(),
        kind: kind.into(),
        created_at: Some(timestamp(Some(info.created_at))),
        updated_at: Some(timestamp(Some(info.updated_at))),
        labels: info.labels,
    }
}

fn parent(name: &str) -> Option<&str> {
    Some(name).filter(|name| !name.is_empty())
}

#[tonic::async_trait]
impl pb::snapshots_server::Snapshots for Door {
    async fn prepare(&self, request: Request<pb::PrepareSnapshotRequest>) -> Answer<pb::PrepareSnapshotResponse> {
        let (ns, lease) = (namespace(&request)?, lease(&request));
        let request = request.into_inner();
        let snapshots = self.snapshotter(&request.snapshotter)?;
        let options = SnapshotOptions {
            labels: request.labels,
            lease,
        };
        let made = blocking(move || {
            let above = parent(&request.parent);
            snapshots.prepare(&ns, &request.snapshotter, &request.key, above, options)
        });
        Ok(Response::new(pb::PrepareSnapshotResponse {
            mounts: mounts::to_wire(made.await?),
        }))
    }

    async fn view(&self, request: Request<pb::ViewSnapshotRequest>) -> Answer<pb::ViewSnapshotResponse> {
        let (ns, lease) = (namespace(&request)?, lease(&request));
        let request = request.into_inner();
        let snapshots = self.snapshotter(&request.snapshotter)?;
        let options = SnapshotOptions {
            labels: request.labels,
            lease,
        };
        let made = blocking(move || {
            let above = parent(&request.parent);
            snapshots.view(&ns, &request.snapshotter, &request.key, above, options)
        });
        Ok(Response::new(pb::ViewSnapshotResponse {
            mounts: mounts::to_wire(made.await?),
        }))
    }

    async fn mounts(&self, request: Request<pb::MountsRequest>) -> Answer<pb::MountsResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let snapshots = self.snapshotter(&request.snapshotter)?;
        let found = blocking(move || snapshots.mounts(&ns, &request.snapshotter, &request.key));
        Ok(Response::new(pb::MountsResponse {
            mounts: mounts::to_wire(found.await?),
        }))
    }

    async fn commit(&self, request: Request<pb::CommitSnapshotRequest>) -> Answer<()> {
        let (ns, lease) = (namespace(&request)?, lease(&request));
        let request = request.into_inner();
        let snapshots = self.snapshotter(&request.snapshotter)?;
        let options = CommitOptions {
            labels: request.labels,
            lease,
            parent: parent(&request.parent).map(str::to_owned),
            // A client's word for a content is not the daemon's own (decision 7).
            verified: false,
        };
        blocking(move || snapshots.commit(&ns, &request.snapshotter, &request.name, &request.key, options))
            .await
            .map(Response::new)
    }

    async fn remove(&self, request: Request<pb::RemoveSnapshotRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let snapshots = self.snapshotter(&request.snapshotter)?;
        blocking(move || snapshots.remove(&ns, &request.snapshotter, &request.key))
            .await
            .map(Response::new)
    }

    async fn stat(&self, request: Request<pb::StatSnapshotRequest>) -> Answer<pb::StatSnapshotResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let snapshots = self.snapshotter(&request.snapshotter)?;
        let found = blocking(move || snapshots.stat(&ns, &request.snapshotter, &request.key)).await?;
        Ok(Response::new(pb::StatSnapshotResponse {
            info: Some(info(found)),
        }))
    }

    async fn update(&self, request: Request<pb::UpdateSnapshotRequest>) -> Answer<pb::UpdateSnapshotResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let snapshots = self.snapshotter(&request.snapshotter)?;
        let given = request
            .info
            .ok_or_else(|| refuse(Error::invalid("an update needs the info to update")))?;
        let paths = request.update_mask.unwrap_or_default().paths;
        let change = mask::labels(&paths, &given.labels, |path| {
            Error::invalid(format!("cannot update {path:?} field on snapshot {:?}", given.name))
        });
        let change = change.map_err(refuse)?;
        let updated = blocking(move || relabel(&snapshots, &ns, &request.snapshotter, &given.name, change)).await?;
        Ok(Response::new(pb::UpdateSnapshotResponse {
            info: Some(info(updated)),
        }))
    }

    type ListStream = Pages<pb::ListSnapshotsResponse>;

    async fn list(&self, request: Request<pb::ListSnapshotsRequest>) -> Answer<Self::ListStream> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let snapshots = self.snapshotter(&request.snapshotter)?;
        let filter = filter::parse_all(&request.filters).map_err(refuse)?;
        let mut found = blocking(move || snapshots.list(&ns, &request.snapshotter)).await?;
        found.retain(|one| filter.matches(one));
        let found = found.into_iter().map(info).collect();
        Ok(Response::new(pages(found, |info| pb::ListSnapshotsResponse { info })))
    }

    async fn usage(&self, request: Request<pb::UsageRequest>) -> Answer<pb::UsageResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let snapshots = self.snapshotter(&request.snapshotter)?;
        let used = blocking(move || snapshots.usage(&ns, &request.snapshotter, &request.key)).await?;
        Ok(Response::new(pb::UsageResponse {
            size: used.size.cast_signed(),
            inodes: used.inodes.cast_signed(),
        }))
    }

    /// Removes what no snapshot needs any more. The collector does so by itself; here it is waited for.
    async fn cleanup(&self, request: Request<pb::CleanupRequest>) -> Answer<()> {
        namespace(&request)?;
        self.snapshotter(&request.get_ref().snapshotter)?;
        let collector = self.rooms.collector.clone();
        blocking(move || {
            collector.collect()?;
            Ok(())
        })
        .await
        .map(Response::new)
    }
}

fn relabel(
    snapshots: &SnapshotStore,
    ns: &gantry_core::Namespace,
    snapshotter: &str,
    key: &str,
    change: Change<Labels>,
) -> Result<SnapshotInfo> {
    if key.is_empty() {
        return Err(Error::new(ErrorKind::InvalidArgument, "a snapshot needs a key"));
    }
    let named = match change {
        Change::Merge(labels) => labels,
        // What is not named goes: an empty value takes a label away.
        Change::Replace(labels) => {
            let old = snapshots.stat(ns, snapshotter, key)?.labels;
            let mut named: Labels = old.into_keys().map(|key| (key, String::new())).collect();
            named.extend(labels);
            named
        }
    };
    snapshots.label(ns, snapshotter, key, &named)
}
