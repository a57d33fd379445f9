//! containerd.services.containers.v1.

use crate::call::{Answer, answer, finish, namespace, refuse};
use crate::mask::Part;
use crate::{Door, any, identifier};
use futures::stream::{self, BoxStream, StreamExt};
use gantry_core::filter::{self, Adaptor};
use gantry_core::meta::{Change, Container, RuntimeChoice};
use gantry_core::{ContainerId, Error, Namespace, Result};
use gantry_engine::meta::ContainerUpdate;
use gantry_proto_containerd::services::containers::v1 as pb;
use gantry_proto_containerd::time::timestamp;
use std::borrow::Cow;
use std::time::SystemTime;
use tonic::{Request, Response, Status};

struct Filtered<'a>(&'a Container);

impl Adaptor for Filtered<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id", ..] => filter::set(self.0.id.as_str()),
            ["runtime", "name", ..] => filter::set(&self.0.runtime.name),
            ["image", ..] => filter::set(&self.0.image),
            ["labels", key @ ..] => filter::label(&self.0.labels, key),
            _ => None,
        }
    }
}

fn to_wire(container: Container) -> pb::Container {
    pb::Container {
        id: container.id.to_string(),
        labels: container.labels,
        image: container.image,
        runtime: Some(pb::container::Runtime {
            name: container.runtime.name,
            options: container.runtime.options.map(any::to_wire),
        }),
        spec: container.spec.map(any::to_wire),
        snapshotter: container.snapshotter,
        snapshot_key: container.snapshot_key,
        created_at: Some(timestamp(Some(container.created_at))),
        updated_at: Some(timestamp(Some(container.updated_at))),
        extensions: any::all_to_wire(container.extensions),
        sandbox: container.sandbox,
    }
}

fn id(text: &str) -> Result<ContainerId> {
    ContainerId::new(text).map_err(|_| Error::invalid(identifier::refused(text)))
}

/// The id of a container that should be there; one that cannot be is not.
fn known(text: &str) -> std::result::Result<ContainerId, Status> {
    ContainerId::new(text).map_err(|_| refuse(Error::not_found(format!("container {text:?} in namespace: not found"))))
}

fn from_wire(given: pb::Container) -> Result<Container> {
    let runtime = given.runtime.unwrap_or_default();
    let now = SystemTime::now();
    Ok(Container {
        id: id(&given.id)?,
        labels: given.labels,
        image: given.image,
        runtime: RuntimeChoice {
            name: runtime.name,
            options: runtime.options.map(any::from_wire),
        },
        spec: given.spec.map(any::from_wire),
        snapshotter: given.snapshotter,
        snapshot_key: given.snapshot_key,
        created_at: now,
        updated_at: now,
        extensions: any::all_from_wire(given.extensions),
        sandbox: given.sandbox,
    })
}

/// What a request changes. Without a mask everything that may change is replaced, and what may not must be as it is.
fn update(given: pb::Container, paths: &[String]) -> Result<ContainerUpdate> {
    let given = from_wire(given)?;
    if paths.is_empty() {
        return Ok(ContainerUpdate {
            labels: Some(Change::Replace(given.labels)),
            spec: Some(given.spec),
            extensions: Some(Change::Replace(given.extensions)),
            image: Some(given.image),
            snapshot_key: Some(given.snapshot_key),
            snapshotter: Some(given.snapshotter),
            runtime_name: Some(given.runtime.name),
        });
    }
    let mut update = ContainerUpdate::default();
    let mut labels = Part::new("labels", &given.labels);
    let mut extensions = Part::new("extensions", &given.extensions);
    for path in paths {
        match path.as_str() {
            "spec" => update.spec = Some(given.spec.clone()),
            "image" => update.image = Some(given.image.clone()),
            "snapshotkey" => update.snapshot_key = Some(given.snapshot_key.clone()),
            other if labels.takes(other) || extensions.takes(other) => {}
            other => {
                let text = format!("cannot update {other:?} field on {:?}", given.id.as_str());
                return Err(Error::invalid(text));
            }
        }
    }
    update.labels = labels.change();
    update.extensions = extensions.change();
    Ok(update)
}

impl Door {
    async fn filtered(&self, ns: &Namespace, filters: &[String]) -> std::result::Result<Vec<pb::Container>, Status> {
        let filter = filter::parse_all(filters).map_err(refuse)?;
        let mut found = self.rooms.engine.meta().containers(ns).await.map_err(refuse)?;
        found.retain(|one| filter.matches(&Filtered(one)));
        Ok(found.into_iter().map(to_wire).collect())
    }
}

#[tonic::async_trait]
impl pb::containers_server::Containers for Door {
    async fn get(&self, request: Request<pb::GetContainerRequest>) -> Answer<pb::GetContainerResponse> {
        let ns = namespace(&request)?;
        let id = known(&request.get_ref().id)?;
        let found = self.rooms.engine.meta().container(&ns, &id).await;
        answer(found.map(|found| pb::GetContainerResponse {
            container: Some(to_wire(found)),
        }))
    }

    async fn list(&self, request: Request<pb::ListContainersRequest>) -> Answer<pb::ListContainersResponse> {
        let ns = namespace(&request)?;
        let containers = self.filtered(&ns, &request.get_ref().filters).await?;
        Ok(Response::new(pb::ListContainersResponse { containers }))
    }

    type ListStreamStream = BoxStream<'static, std::result::Result<pb::ListContainerMessage, Status>>;

    async fn list_stream(&self, request: Request<pb::ListContainersRequest>) -> Answer<Self::ListStreamStream> {
        let ns = namespace(&request)?;
        let containers = self.filtered(&ns, &request.get_ref().filters).await?;
        let messages = stream::iter(containers).map(|container| {
            Ok(pb::ListContainerMessage {
                container: Some(container),
            })
        });
        Ok(Response::new(messages.boxed()))
    }

    async fn create(&self, request: Request<pb::CreateContainerRequest>) -> Answer<pb::CreateContainerResponse> {
        let ns = namespace(&request)?;
        let given = request
            .into_inner()
            .container
            .ok_or_else(|| refuse(Error::invalid("a container is needed")))?;
        let container = from_wire(given).map_err(|error| {
            refuse(Error::new(
                error.kind(),
                format!("create container failed validation: container.ID: {}", error.message()),
            ))
        })?;
        let meta = self.rooms.engine.meta().clone();
        let made = finish(async move { meta.create_container(&ns, container).await }).await?;
        Ok(Response::new(pb::CreateContainerResponse {
            container: Some(to_wire(made)),
        }))
    }

    async fn update(&self, request: Request<pb::UpdateContainerRequest>) -> Answer<pb::UpdateContainerResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let given = request
            .container
            .filter(|container| !container.id.is_empty())
            .ok_or_else(|| refuse(Error::invalid("Container.ID required")))?;
        let id = known(&given.id)?;
        let change = update(given, &request.update_mask.unwrap_or_default().paths).map_err(refuse)?;
        let meta = self.rooms.engine.meta().clone();
        let changed = finish(async move { meta.update_container(&ns, &id, change).await }).await?;
        Ok(Response::new(pb::UpdateContainerResponse {
            container: Some(to_wire(changed)),
        }))
    }

    async fn delete(&self, request: Request<pb::DeleteContainerRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let id = known(&request.get_ref().id)?;
        let meta = self.rooms.engine.meta().clone();
        finish(async move { meta.delete_container(&ns, &id).await }).await?;
        self.rooms.background.request();
        Ok(Response::new(()))
    }
}
