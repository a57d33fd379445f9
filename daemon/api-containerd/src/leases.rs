//! containerd.services.leases.v1.

use crate::Door;
use crate::call::{Answer, blocking, namespace, refuse};
use gantry_core::filter::{self, Adaptor};
use gantry_core::{Labels, LeaseId};
use gantry_proto_containerd::services::leases::v1 as pb;
use gantry_proto_containerd::time::timestamp;
use gantry_store::{Lease, Resource};
use std::borrow::Cow;
use tonic::{Request, Response};

fn to_wire((id, lease): (LeaseId, Lease)) -> pb::Lease {
    pb::Lease {
        id: id.0,
        created_at: Some(timestamp(Some(lease.created_at))),
        labels: lease.labels,
    }
}

struct Entry<'a>(&'a LeaseId, &'a Labels);

impl Adaptor for Entry<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id", ..] => Some(self.0.0.as_str().into()),
            ["labels", key @ ..] => filter::label(self.1, key),
            _ => None,
        }
    }
}

#[tonic::async_trait]
impl pb::leases_server::Leases for Door {
    async fn create(&self, request: Request<pb::CreateRequest>) -> Answer<pb::CreateResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let leases = self.rooms.leases.clone();
        let id = Some(LeaseId(request.id)).filter(|id| !id.0.is_empty());
        let made = blocking(move || Ok(leases.create(&ns, id, request.labels)?)).await?;
        Ok(Response::new(pb::CreateResponse {
            lease: Some(to_wire(made)),
        }))
    }

    async fn delete(&self, request: Request<pb::DeleteRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let (rooms, streams) = (self.rooms.clone(), self.streams.clone());
        blocking(move || {
            let lease = LeaseId(request.id);
            rooms.leases.delete(&ns, &lease)?;
            streams.release(&ns, &lease);
            if request.sync {
                rooms.collector.collect()?;
            } else {
                rooms.background.request();
            }
            Ok(())
        })
        .await
        .map(Response::new)
    }

    async fn list(&self, request: Request<pb::ListRequest>) -> Answer<pb::ListResponse> {
        let ns = namespace(&request)?;
        let filter = filter::parse_all(&request.get_ref().filters).map_err(refuse)?;
        let leases = self.rooms.leases.clone();
        let mut found = blocking(move || Ok(leases.list(&ns)?)).await?;
        found.retain(|(id, lease)| filter.matches(&Entry(id, &lease.labels)));
        Ok(Response::new(pb::ListResponse {
            leases: found.into_iter().map(to_wire).collect(),
        }))
    }

    async fn add_resource(&self, request: Request<pb::AddResourceRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let leases = self.rooms.leases.clone();
        let resource = request.resource.unwrap_or_default();
        blocking(move || {
            let resource = Resource::parse(&resource.r#type, &resource.id)?;
            Ok(leases.add(&ns, &LeaseId(request.id), &resource)?)
        })
        .await
        .map(Response::new)
    }

    async fn delete_resource(&self, request: Request<pb::DeleteResourceRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let leases = self.rooms.leases.clone();
        let resource = request.resource.unwrap_or_default();
        blocking(move || {
            let resource = Resource::parse(&resource.r#type, &resource.id)?;
            Ok(leases.remove(&ns, &LeaseId(request.id), &resource)?)
        })
        .await
        .map(Response::new)
    }

    async fn list_resources(&self, request: Request<pb::ListResourcesRequest>) -> Answer<pb::ListResourcesResponse> {
        let ns = namespace(&request)?;
        let id = LeaseId(request.into_inner().id);
        let leases = self.rooms.leases.clone();
        let found = blocking(move || Ok(leases.resources(&ns, &id)?)).await?;
        let resources = found.iter().map(|resource| pb::Resource {
            id: resource.id(),
            r#type: resource.kind(),
        });
        Ok(Response::new(pb::ListResourcesResponse {
            resources: resources.collect(),
        }))
    }
}
