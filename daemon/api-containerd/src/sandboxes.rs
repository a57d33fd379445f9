//! containerd.services.sandbox.v1.Store.

use crate::call::{Answer, finish, namespace, refuse};
use crate::mask::Part;
use crate::{Door, any, identifier};
use gantry_core::filter::{self, Adaptor};
use gantry_core::meta::{Change, RuntimeChoice, Sandbox};
use gantry_core::{ContainerId, Error, Result};
use gantry_engine::meta::SandboxUpdate;
use gantry_proto_containerd::services::sandbox::v1 as pb;
use gantry_proto_containerd::time::timestamp;
use gantry_proto_containerd::types as wire;
use std::borrow::Cow;
use std::time::SystemTime;
use tonic::{Request, Response, Status};

struct Filtered<'a>(&'a Sandbox);

impl Adaptor for Filtered<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id", ..] => filter::set(self.0.id.as_str()),
            ["labels", key @ ..] => filter::label(&self.0.labels, key),
            _ => None,
        }
    }
}

fn to_wire(sandbox: Sandbox) -> wire::Sandbox {
    wire::Sandbox {
        sandbox_id: sandbox.id.to_string(),
        runtime: Some(wire::sandbox::Runtime {
            name: sandbox.runtime.name,
            options: sandbox.runtime.options.map(any::to_wire),
        }),
        spec: sandbox.spec.map(any::to_wire),
        labels: sandbox.labels,
        created_at: Some(timestamp(Some(sandbox.created_at))),
        updated_at: Some(timestamp(Some(sandbox.updated_at))),
        extensions: any::all_to_wire(sandbox.extensions),
        sandboxer: sandbox.sandboxer,
    }
}

pub fn from_wire(given: wire::Sandbox) -> Result<Sandbox> {
    let runtime = given.runtime.unwrap_or_default();
    let id = ContainerId::new(&given.sandbox_id).map_err(|_| {
        Error::invalid(format!(
            "invalid sandbox ID: {}",
            identifier::refused(&given.sandbox_id)
        ))
    })?;
    let now = SystemTime::now();
    Ok(Sandbox {
        id,
        labels: given.labels,
        runtime: RuntimeChoice {
            name: runtime.name,
            options: runtime.options.map(any::from_wire),
        },
        spec: given.spec.map(any::from_wire),
        created_at: now,
        updated_at: now,
        extensions: any::all_from_wire(given.extensions),
        sandboxer: given.sandboxer,
    })
}

/// The id of a sandbox that should be there; one that cannot be is not.
fn known(text: &str) -> std::result::Result<ContainerId, Status> {
    ContainerId::new(text).map_err(|_| refuse(Error::not_found(format!("sandbox {text:?}: not found"))))
}

/// What a request changes. Without fields everything that may change is replaced.
fn update(given: Sandbox, fields: &[String]) -> Result<SandboxUpdate> {
    if fields.is_empty() {
        return Ok(SandboxUpdate {
            labels: Some(Change::Replace(given.labels)),
            spec: Some(given.spec),
            extensions: Some(Change::Replace(given.extensions)),
            runtime: Some(given.runtime),
            sandboxer: None,
        });
    }
    let mut update = SandboxUpdate::default();
    let mut labels = Part::new("labels", &given.labels);
    let mut extensions = Part::new("extensions", &given.extensions);
    for field in fields {
        match field.as_str() {
            "spec" => update.spec = Some(given.spec.clone()),
            "runtime" => update.runtime = Some(given.runtime.clone()),
            other if labels.takes(other) || extensions.takes(other) => {}
            other => {
                let text = format!("cannot update {other:?} field on sandbox {:?}", given.id.as_str());
                return Err(Error::invalid(text));
            }
        }
    }
    update.labels = labels.change();
    update.extensions = extensions.change();
    Ok(update)
}

fn given(sandbox: Option<wire::Sandbox>) -> std::result::Result<Sandbox, Status> {
    let given = sandbox.ok_or_else(|| refuse(Error::invalid("a sandbox is needed")))?;
    from_wire(given).map_err(refuse)
}

#[tonic::async_trait]
impl pb::store_server::Store for Door {
    async fn create(&self, request: Request<pb::StoreCreateRequest>) -> Answer<pb::StoreCreateResponse> {
        let ns = namespace(&request)?;
        let sandbox = given(request.into_inner().sandbox)?;
        let meta = self.rooms.engine.meta().clone();
        let made = finish(async move { meta.create_sandbox(&ns, sandbox).await }).await?;
        Ok(Response::new(pb::StoreCreateResponse {
            sandbox: Some(to_wire(made)),
        }))
    }

    async fn update(&self, request: Request<pb::StoreUpdateRequest>) -> Answer<pb::StoreUpdateResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let sandbox = given(request.sandbox)?;
        let id = sandbox.id.clone();
        let change = update(sandbox, &request.fields).map_err(refuse)?;
        let meta = self.rooms.engine.meta().clone();
        let changed = finish(async move { meta.update_sandbox(&ns, &id, change).await }).await?;
        Ok(Response::new(pb::StoreUpdateResponse {
            sandbox: Some(to_wire(changed)),
        }))
    }

    async fn delete(&self, request: Request<pb::StoreDeleteRequest>) -> Answer<pb::StoreDeleteResponse> {
        let ns = namespace(&request)?;
        let id = known(&request.get_ref().sandbox_id)?;
        let meta = self.rooms.engine.meta().clone();
        finish(async move { meta.delete_sandbox(&ns, &id).await }).await?;
        Ok(Response::new(pb::StoreDeleteResponse {}))
    }

    async fn list(&self, request: Request<pb::StoreListRequest>) -> Answer<pb::StoreListResponse> {
        let ns = namespace(&request)?;
        let filter = filter::parse_all(&request.get_ref().filters).map_err(refuse)?;
        let mut found = self.rooms.engine.meta().sandboxes(&ns).await.map_err(refuse)?;
        found.retain(|one| filter.matches(&Filtered(one)));
        Ok(Response::new(pb::StoreListResponse {
            list: found.into_iter().map(to_wire).collect(),
        }))
    }

    async fn get(&self, request: Request<pb::StoreGetRequest>) -> Answer<pb::StoreGetResponse> {
        let ns = namespace(&request)?;
        let id = known(&request.get_ref().sandbox_id)?;
        let found = self.rooms.engine.meta().sandbox(&ns, &id).await.map_err(refuse)?;
        Ok(Response::new(pb::StoreGetResponse {
            sandbox: Some(to_wire(found)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_core::Labels;

    fn sandbox() -> Sandbox {
        from_wire(wire::Sandbox {
            sandbox_id: "one".to_owned(),
            labels: Labels::from([("a.b".to_owned(), "1".to_owned())]),
            ..wire::Sandbox::default()
        })
        .unwrap()
    }

    #[test]
    fn fields_name_what_changes() {
        let fields = |list: &[&str]| list.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>();
        let one = update(sandbox(), &fields(&["labels.a.b", "labels.gone"])).unwrap();
        let merged = Labels::from([("a.b".to_owned(), "1".to_owned()), ("gone".to_owned(), String::new())]);
        assert_eq!(
            one,
            SandboxUpdate {
                labels: Some(Change::Merge(merged)),
                ..SandboxUpdate::default()
            }
        );
        let all = update(sandbox(), &[]).unwrap();
        assert!(all.spec.is_some() && all.runtime.is_some() && all.extensions.is_some());
        let refused = update(sandbox(), &fields(&["sandboxer"])).unwrap_err();
        assert_eq!(
            refused.message(),
            "cannot update \"sandboxer\" field on sandbox \"one\""
        );
    }

    #[test]
    fn a_sandbox_comes_back_as_it_went() {
        assert_eq!(from_wire(to_wire(sandbox())).unwrap().labels, sandbox().labels);
        let nameless = from_wire(wire::Sandbox::default()).unwrap_err();
        assert_eq!(nameless.message(), "invalid sandbox ID: identifier must not be empty");
    }
}
