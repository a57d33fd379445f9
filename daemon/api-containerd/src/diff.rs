//! containerd.services.diff.v1.

use crate::call::{Answer, finish, lease, namespace, refuse};
use crate::{Door, descriptors, mounts};
use gantry_core::{Error, Result};
use gantry_engine::NewDifference;
use gantry_proto_containerd::prost_types::Timestamp;
use gantry_proto_containerd::services::diff::v1 as pb;
use tonic::{Request, Response};

fn epoch(stamp: &Timestamp) -> Result<i64> {
    match (0..1_000_000_000).contains(&stamp.nanos) {
        true => Ok(stamp.seconds),
        false => Err(Error::invalid(format!(
            "source date epoch: {} nanoseconds make no sense",
            stamp.nanos
        ))),
    }
}

#[tonic::async_trait]
impl pb::diff_server::Diff for Door {
    async fn apply(&self, request: Request<pb::ApplyRequest>) -> Answer<pb::ApplyResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let layer = request
            .diff
            .ok_or_else(|| refuse(Error::invalid("a descriptor of the layer is needed")))?;
        let layer = descriptors::from_wire(layer, "layer").map_err(refuse)?;
        let mounts = mounts::from_wire(request.mounts);
        let difference = self.rooms.engine.difference();
        let applied = finish(async move { difference.apply(&ns, layer, mounts, request.sync_fs).await }).await?;
        Ok(Response::new(pb::ApplyResponse {
            applied: Some(descriptors::to_wire(applied)),
        }))
    }

    async fn diff(&self, request: Request<pb::DiffRequest>) -> Answer<pb::DiffResponse> {
        let (ns, lease) = (namespace(&request)?, lease(&request));
        let request = request.into_inner();
        let (left, right) = (mounts::from_wire(request.left), mounts::from_wire(request.right));
        let new = NewDifference {
            media_type: request.media_type,
            reference: request.r#ref,
            labels: request.labels,
            lease,
            source_date_epoch: request
                .source_date_epoch
                .as_ref()
                .map(epoch)
                .transpose()
                .map_err(refuse)?,
        };
        let difference = self.rooms.engine.difference();
        let made = finish(async move { difference.compare(&ns, left, right, new).await }).await?;
        Ok(Response::new(pb::DiffResponse {
            diff: Some(descriptors::to_wire(made)),
        }))
    }
}
