//! containerd.services.namespaces.v1.

use crate::Door;
use crate::call::{Answer, answer, finish, refuse};
use crate::identifier;
use crate::mask;
use gantry_core::{Error, Labels, Namespace};
use gantry_proto_containerd::services::namespaces::v1 as pb;
use tonic::{Request, Response, Status};

fn name(text: &str) -> Result<Namespace, Status> {
    Namespace::new(text).map_err(|_| refuse(Error::invalid(identifier::refused(text))))
}

fn to_wire(name: &Namespace, labels: Labels) -> pb::Namespace {
    pb::Namespace {
        name: name.to_string(),
        labels,
    }
}

fn given(namespace: Option<pb::Namespace>) -> Result<(Namespace, Labels), Status> {
    let given = namespace.ok_or_else(|| refuse(Error::invalid("a namespace is needed")))?;
    Ok((name(&given.name)?, given.labels))
}

#[tonic::async_trait]
impl pb::namespaces_server::Namespaces for Door {
    async fn get(&self, request: Request<pb::GetNamespaceRequest>) -> Answer<pb::GetNamespaceResponse> {
        let name = name(&request.get_ref().name)?;
        let labels = self.rooms.engine.meta().namespace(&name).await;
        answer(labels.map(|labels| pb::GetNamespaceResponse {
            namespace: Some(to_wire(&name, labels)),
        }))
    }

    async fn list(&self, _: Request<pb::ListNamespacesRequest>) -> Answer<pb::ListNamespacesResponse> {
        let found = self.rooms.engine.meta().namespaces().await;
        answer(found.map(|found| pb::ListNamespacesResponse {
            namespaces: found.into_iter().map(|(name, labels)| to_wire(&name, labels)).collect(),
        }))
    }

    async fn create(&self, request: Request<pb::CreateNamespaceRequest>) -> Answer<pb::CreateNamespaceResponse> {
        let (name, labels) = given(request.into_inner().namespace)?;
        let meta = self.rooms.engine.meta().clone();
        let made = to_wire(&name, labels.clone());
        finish(async move { meta.create_namespace(&name, labels).await }).await?;
        Ok(Response::new(pb::CreateNamespaceResponse { namespace: Some(made) }))
    }

    async fn update(&self, request: Request<pb::UpdateNamespaceRequest>) -> Answer<pb::UpdateNamespaceResponse> {
        let request = request.into_inner();
        let (name, labels) = given(request.namespace)?;
        let paths = request.update_mask.unwrap_or_default().paths;
        let change = mask::labels(&paths, &labels, |path| {
            Error::invalid(format!("cannot update {path:?} field on namespace {name:?}"))
        });
        let change = change.map_err(refuse)?;
        let (meta, changed) = (self.rooms.engine.meta().clone(), name.clone());
        let labels = finish(async move { meta.update_namespace(&changed, change).await }).await?;
        Ok(Response::new(pb::UpdateNamespaceResponse {
            namespace: Some(to_wire(&name, labels)),
        }))
    }

    async fn delete(&self, request: Request<pb::DeleteNamespaceRequest>) -> Answer<()> {
        let name = name(&request.get_ref().name)?;
        let meta = self.rooms.engine.meta().clone();
        finish(async move { meta.delete_namespace(&name).await })
            .await
            .map(Response::new)
    }
}
