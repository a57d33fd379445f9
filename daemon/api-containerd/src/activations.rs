//! containerd.services.mounts.v1: mounts kept on a client's behalf.

use crate::call::{Answer, blocking, lease, namespace, refuse};
use crate::page::Pages;
use crate::{Door, mask, mounts};
use futures::stream::{self, StreamExt};
use gantry_core::{Error, filter};
use gantry_engine::{Activation, ActiveMount, NewActivation};
use gantry_proto_containerd::services::mounts::v1 as pb;
use gantry_proto_containerd::time::timestamp;
use gantry_proto_containerd::types;
use std::collections::BTreeMap;
use tonic::{Request, Response};

fn active(one: ActiveMount) -> types::ActiveMount {
    types::ActiveMount {
        mount: Some(mounts::one_to_wire(one.mount)),
        mounted_at: Some(timestamp(Some(one.mounted_at))),
        mount_point: one.mount_point.to_string_lossy().into_owned(),
        data: BTreeMap::new(),
    }
}

fn to_wire(activation: Activation) -> types::ActivationInfo {
    types::ActivationInfo {
        name: activation.name,
        active: activation.active.into_iter().map(active).collect(),
        system: mounts::to_wire(activation.system),
        labels: activation.labels,
    }
}

#[tonic::async_trait]
impl pb::mounts_server::Mounts for Door {
    async fn activate(&self, request: Request<pb::ActivateRequest>) -> Answer<pb::ActivateResponse> {
        let (ns, lease) = (namespace(&request)?, lease(&request));
        let request = request.into_inner();
        let new = NewActivation {
            name: request.name,
            mounts: mounts::from_wire(request.mounts),
            labels: request.labels,
            temporary: request.temporary,
            allowed: Vec::new(),
            lease,
        };
        let activations = self.rooms.engine.activations();
        let made = blocking(move || activations.activate(&ns, new)).await?;
        Ok(Response::new(pb::ActivateResponse {
            info: Some(to_wire(made)),
        }))
    }

    async fn deactivate(&self, request: Request<pb::DeactivateRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let name = request.into_inner().name;
        let activations = self.rooms.engine.activations();
        blocking(move || activations.deactivate(&ns, &name))
            .await
            .map(Response::new)
    }

    async fn info(&self, request: Request<pb::InfoRequest>) -> Answer<pb::InfoResponse> {
        let ns = namespace(&request)?;
        let name = request.into_inner().name;
        let activations = self.rooms.engine.activations();
        let found = blocking(move || activations.info(&ns, &name)).await?;
        Ok(Response::new(pb::InfoResponse {
            info: Some(to_wire(found)),
        }))
    }

    async fn update(&self, request: Request<pb::UpdateRequest>) -> Answer<pb::UpdateResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let given = request
            .info
            .ok_or_else(|| refuse(Error::invalid("an update needs the info to update")))?;
        let paths = request.update_mask.unwrap_or_default().paths;
        let change = mask::labels(&paths, &given.labels, |path| {
            Error::invalid(format!("cannot update {path:?} field on mount {:?}", given.name))
        });
        let change = change.map_err(refuse)?;
        let activations = self.rooms.engine.activations();
        let updated = blocking(move || activations.update(&ns, &given.name, change)).await?;
        Ok(Response::new(pb::UpdateResponse {
            info: Some(to_wire(updated)),
        }))
    }

    type ListStream = Pages<pb::ListMessage>;

    /// One message each.
    async fn list(&self, request: Request<pb::ListRequest>) -> Answer<Self::ListStream> {
        let ns = namespace(&request)?;
        let filter = filter::parse_all(&request.get_ref().filters).map_err(refuse)?;
        let activations = self.rooms.engine.activations();
        let found = blocking(move || activations.list(&ns, &filter)).await?;
        let message = |found| {
            Ok(pb::ListMessage {
                info: Some(to_wire(found)),
            })
        };
        Ok(Response::new(stream::iter(found.into_iter().map(message)).boxed()))
    }
}
