//! What clients keep as records: namespaces, containers, sandboxes.

use crate::bed::{Bed, Entry, NS, labels, mask, spec};
use futures::future::BoxFuture;
use gantry_proto_containerd::any::json;
use gantry_proto_containerd::services::containers::v1 as containers;
use gantry_proto_containerd::services::namespaces::v1 as namespaces;
use gantry_proto_containerd::services::sandbox::v1 as sandbox;
use gantry_proto_containerd::types;
use std::collections::BTreeMap;
use tonic::{Code, Status};

pub const RUNTIME: &str = "io.containerd.gantry.v1";
const NAMESPACES: &str = "containerd.services.namespaces.v1.Namespaces";
const CONTAINERS: &str = "containerd.services.containers.v1.Containers";
const SANDBOXES: &str = "containerd.services.sandbox.v1.Store";

pub fn entries() -> Vec<Entry> {
    let mut all = of_namespaces();
    all.extend(of_containers());
    all.extend(of_sandboxes());
    all
}

fn of_namespaces() -> Vec<Entry> {
    let list: &'static str = "containerd.services.namespaces.v1.Namespaces/List";
    vec![
        Entry::new(
            &format!("{NAMESPACES}/Get"),
            |bed| {
                Box::pin(async move {
                    let get = |name: &str| namespaces::GetNamespaceRequest { name: name.to_owned() };
                    let mut client = bed.connection.anybody().namespaces();
                    let name = made(bed).await;
                    let found = client.get(get(&name)).await.unwrap().into_inner().namespace.unwrap();
                    assert_eq!((found.name, found.labels), (name, labels(&[("a", "1"), ("b", "2")])));
                    let found = client
                        .get(get("never-heard-of"))
                        .await
                        .unwrap()
                        .into_inner()
                        .namespace
                        .unwrap();
                    assert!(found.labels.is_empty(), "unknown is no error");
                })
            },
            Code::InvalidArgument,
            "must match",
            |bed| {
                Box::pin(async move {
                    let request = namespaces::GetNamespaceRequest {
                        name: "bad/name".to_owned(),
                    };
                    bed.connection.anybody().namespaces().get(request).await.map(drop)
                })
            },
        ),
        Entry::new(
            list,
            |bed| {
                Box::pin(async move {
                    let name = made(bed).await;
                    let request = namespaces::ListNamespacesRequest::default();
                    let all = bed
                        .connection
                        .anybody()
                        .namespaces()
                        .list(request)
                        .await
                        .unwrap()
                        .into_inner()
                        .namespaces;
                    assert!(
                        all.iter().any(|one| one.name == name && one.labels.len() == 2),
                        "{all:?}"
                    );
                })
            },
            Code::Internal,
            "failed to decode Protobuf message",
            |bed| crate::telling::garbage(&bed.connection, "containerd.services.namespaces.v1.Namespaces/List"),
        ),
        Entry::new(
            &format!("{NAMESPACES}/Create"),
            |bed| Box::pin(async move { drop(made(bed).await) }),
            Code::AlreadyExists,
            "already exists",
            |bed| {
                Box::pin(async move {
                    let name = made(bed).await;
                    create(bed, &name).await
                })
            },
        ),
        Entry::new(
            &format!("{NAMESPACES}/Update"),
            |bed| {
                Box::pin(async move {
                    let name = made(bed).await;
                    let after = update(
                        bed,
                        &name,
                        &["labels.a", "labels.c"],
                        labels(&[("c", "3"), ("b", "not named")]),
                    )
                    .await;
                    assert_eq!(after.unwrap().labels, labels(&[("b", "2"), ("c", "3")]));
                    let created = update(bed, &bed.fresh("demanded"), &[], labels(&[("x", "y")])).await;
                    assert_eq!(created.unwrap().labels, labels(&[("x", "y")]));
                })
            },
            Code::InvalidArgument,
            "cannot update \"name\" field",
            |bed| Box::pin(async move { update(bed, "walk", &["name"], BTreeMap::new()).await.map(drop) }),
        ),
        Entry::new(
            &format!("{NAMESPACES}/Delete"),
            |bed| {
                Box::pin(async move {
                    let name = made(bed).await;
                    delete(bed, &name).await.unwrap();
                    assert_eq!(delete(bed, &name).await.unwrap_err().code(), Code::NotFound);
                })
            },
            Code::FailedPrecondition,
            "must be empty, but it still has blobs",
            |bed| {
                Box::pin(async move {
                    let name = bed.fresh("full");
                    crate::bed::put(&bed.connection.of(&name), "r", b"something")
                        .await
                        .unwrap();
                    delete(bed, &name).await
                })
            },
        ),
    ]
}

async fn create(bed: &Bed, name: &str) -> Result<(), Status> {
    let namespace = namespaces::Namespace {
        name: name.to_owned(),
        labels: labels(&[("a", "1"), ("b", "2"), ("none", "")]),
    };
    let request = namespaces::CreateNamespaceRequest {
        namespace: Some(namespace),
    };
    bed.connection.anybody().namespaces().create(request).await.map(drop)
}

async fn made(bed: &Bed) -> String {
    let name = bed.fresh("made");
    create(bed, &name).await.unwrap();
    name
}

async fn update(
    bed: &Bed,
    name: &str,
    paths: &[&str],
    labels: BTreeMap<String, String>,
) -> Result<namespaces::Namespace, Status> {
    let request = namespaces::UpdateNamespaceRequest {
        namespace: Some(namespaces::Namespace {
            name: name.to_owned(),
            labels,
        }),
        update_mask: mask(paths),
    };
    let answer = bed.connection.anybody().namespaces().update(request).await?;
    Ok(answer.into_inner().namespace.unwrap())
}

async fn delete(bed: &Bed, name: &str) -> Result<(), Status> {
    let request = namespaces::DeleteNamespaceRequest { name: name.to_owned() };
    bed.connection.anybody().namespaces().delete(request).await.map(drop)
}

/// A container as a record.
pub fn container(id: &str, script: &str) -> containers::Container {
    containers::Container {
        id: id.to_owned(),
        labels: labels(&[("walk", id), ("colour", "red")]),
        runtime: Some(containers::container::Runtime {
            name: RUNTIME.to_owned(),
            options: None,
        }),
        spec: Some(spec(id, script)),
        ..containers::Container::default()
    }
}

pub async fn create_container(bed: &Bed, container: containers::Container) -> Result<containers::Container, Status> {
    let request = containers::CreateContainerRequest {
        container: Some(container),
    };
    let answer = bed.walk.containers().create(request).await?;
    Ok(answer.into_inner().container.unwrap())
}

async fn kept(bed: &Bed) -> containers::Container {
    create_container(bed, container(&bed.fresh("c"), "true")).await.unwrap()
}

async fn update_container(
    bed: &Bed,
    container: containers::Container,
    paths: &[&str],
) -> Result<containers::Container, Status> {
    let request = containers::UpdateContainerRequest {
        container: Some(container),
        update_mask: mask(paths),
    };
    let answer = bed.walk.containers().update(request).await?;
    Ok(answer.into_inner().container.unwrap())
}

fn wanted(filter: &str) -> containers::ListContainersRequest {
    containers::ListContainersRequest {
        filters: vec![filter.to_owned()],
    }
}

fn of_containers() -> Vec<Entry> {
    vec![
        Entry::new(
            &format!("{CONTAINERS}/Get"),
            |bed| {
                Box::pin(async move {
                    let made = kept(bed).await;
                    let request = containers::GetContainerRequest { id: made.id.clone() };
                    let found = bed
                        .walk
                        .containers()
                        .get(request)
                        .await
                        .unwrap()
                        .into_inner()
                        .container
                        .unwrap();
                    assert_eq!(found, made);
                    assert_eq!(found.spec, Some(spec(&made.id, "true")), "byte for byte");
                })
            },
            Code::NotFound,
            "container \"nobody\" in namespace \"walk\"",
            |bed| {
                Box::pin(async move {
                    let request = containers::GetContainerRequest {
                        id: "nobody".to_owned(),
                    };
                    bed.walk.containers().get(request).await.map(drop)
                })
            },
        ),
        Entry::new(
            &format!("{CONTAINERS}/List"),
            |bed| {
                Box::pin(async move {
                    let made = kept(bed).await;
                    let filter = wanted(&format!("labels.walk=={},runtime.name=={RUNTIME}", made.id));
                    let found = bed
                        .walk
                        .containers()
                        .list(filter)
                        .await
                        .unwrap()
                        .into_inner()
                        .containers;
                    assert_eq!(found, [made]);
                })
            },
            Code::InvalidArgument,
            "labels.walk==",
            |bed| Box::pin(async move { bed.walk.containers().list(wanted("labels.walk==a b")).await.map(drop) }),
        ),
        Entry::new(
            &format!("{CONTAINERS}/ListStream"),
            |bed| {
                Box::pin(async move {
                    let made = kept(bed).await;
                    let request = wanted(&format!("id=={}", made.id));
                    let mut found = bed.walk.containers().list_stream(request).await.unwrap().into_inner();
                    assert_eq!(found.message().await.unwrap().unwrap().container.unwrap(), made);
                    assert!(found.message().await.unwrap().is_none());
                })
            },
            Code::FailedPrecondition,
            "namespace is required",
            |bed| {
                Box::pin(async move {
                    bed.connection
                        .anybody()
                        .containers()
                        .list_stream(wanted(""))
                        .await
                        .map(drop)
                })
            },
        ),
        Entry::new(
            &format!("{CONTAINERS}/Create"),
            create_well,
            Code::InvalidArgument,
            "Runtime.Name must be set",
            |bed| {
                Box::pin(async move {
                    let nameless = containers::Container {
                        runtime: None,
                        ..container(&bed.fresh("c"), "true")
                    };
                    create_container(bed, nameless).await.map(drop)
                })
            },
        ),
        Entry::new(
            &format!("{CONTAINERS}/Update"),
            update_well,
            Code::InvalidArgument,
            "cannot update \"runtime\" field",
            |bed| {
                Box::pin(async move {
                    let made = kept(bed).await;
                    update_container(bed, made, &["labels", "runtime"]).await.map(drop)
                })
            },
        ),
        Entry::new(
            &format!("{CONTAINERS}/Delete"),
            |bed| {
                Box::pin(async move {
                    let made = kept(bed).await;
                    let request = containers::DeleteContainerRequest { id: made.id.clone() };
                    bed.walk.containers().delete(request.clone()).await.unwrap();
                    assert_eq!(
                        bed.walk.containers().delete(request).await.unwrap_err().code(),
                        Code::NotFound
                    );
                    // Its name is free.
                    create_container(bed, made).await.unwrap();
                })
            },
            Code::NotFound,
            "container \"bad/id\"",
            |bed| {
                Box::pin(async move {
                    let request = containers::DeleteContainerRequest {
                        id: "bad/id".to_owned(),
                    };
                    bed.walk.containers().delete(request).await.map(drop)
                })
            },
        ),
    ]
}

fn create_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let mut given = container(&bed.fresh("c"), "true");
        given.extensions = BTreeMap::from([("x".to_owned(), json("walk.Text", "\"kept\""))]);
        given.image = "docker.io/library/none:1".to_owned();
        let made = create_container(bed, given.clone()).await.unwrap();
        assert!(made.created_at.is_some() && made.created_at == made.updated_at);
        let cleared = containers::Container {
            created_at: None,
            updated_at: None,
            ..made
        };
        assert_eq!(cleared, given);
        let again = create_container(bed, given).await.unwrap_err();
        assert_eq!(again.code(), Code::AlreadyExists);
    })
}

fn update_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let made = kept(bed).await;
        let mut given = made.clone();
        given.labels = labels(&[("colour", "blue"), ("other", "not named")]);
        given.extensions = BTreeMap::from([("x".to_owned(), json("walk.Text", "\"new\""))]);
        given.image = "new:1".to_owned();
        let after = update_container(bed, given, &["labels.colour", "labels.walk", "extensions.x", "image"])
            .await
            .unwrap();
        assert_eq!(
            after.labels,
            labels(&[("colour", "blue")]),
            "an empty value takes one away"
        );
        assert_eq!(after.extensions.len(), 1);
        assert_eq!(
            (after.image.as_str(), after.spec, after.created_at),
            ("new:1", made.spec.clone(), made.created_at)
        );
        // Without a mask all that can change does, and what cannot must be as it is.
        let after = update_container(bed, made.clone(), &[]).await.unwrap();
        assert_eq!(
            (after.labels, after.extensions.len(), after.image),
            (made.labels.clone(), 0, String::new())
        );
        let mut other = made;
        other.runtime = Some(containers::container::Runtime {
            name: "io.containerd.runc.v2".to_owned(),
            options: None,
        });
        let refused = update_container(bed, other, &[]).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    })
}

/// A sandbox as a record.
pub fn sandbox(id: &str) -> types::Sandbox {
    types::Sandbox {
        sandbox_id: id.to_owned(),
        runtime: Some(types::sandbox::Runtime {
            name: RUNTIME.to_owned(),
            options: None,
        }),
        labels: labels(&[("walk", id)]),
        extensions: BTreeMap::from([("x".to_owned(), json("walk.Text", "\"kept\""))]),
        ..types::Sandbox::default()
    }
}

pub async fn keep_sandbox(bed: &Bed, sandbox: types::Sandbox) -> Result<types::Sandbox, Status> {
    let request = sandbox::StoreCreateRequest { sandbox: Some(sandbox) };
    let answer = bed.walk.sandboxes().create(request).await?;
    Ok(answer.into_inner().sandbox.unwrap())
}

async fn get_sandbox(bed: &Bed, id: &str) -> Result<types::Sandbox, Status> {
    let request = sandbox::StoreGetRequest {
        sandbox_id: id.to_owned(),
    };
    let answer = bed.walk.sandboxes().get(request).await?;
    Ok(answer.into_inner().sandbox.unwrap())
}

async fn change_sandbox(bed: &Bed, sandbox: types::Sandbox, fields: &[&str]) -> Result<types::Sandbox, Status> {
    let request = sandbox::StoreUpdateRequest {
        sandbox: Some(sandbox),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
    };
    let answer = bed.walk.sandboxes().update(request).await?;
    Ok(answer.into_inner().sandbox.unwrap())
}

fn of_sandboxes() -> Vec<Entry> {
    vec![
        Entry::new(
            &format!("{SANDBOXES}/Create"),
            |bed| {
                Box::pin(async move {
                    let given = sandbox(&bed.fresh("s"));
                    let made = keep_sandbox(bed, given.clone()).await.unwrap();
                    assert!(made.created_at.is_some());
                    assert_eq!(
                        (made.labels, made.extensions, made.runtime),
                        (given.labels.clone(), given.extensions.clone(), given.runtime.clone())
                    );
                    assert_eq!(keep_sandbox(bed, given).await.unwrap_err().code(), Code::AlreadyExists);
                })
            },
            Code::InvalidArgument,
            "identifier must not be empty",
            |bed| Box::pin(async move { keep_sandbox(bed, sandbox("")).await.map(drop) }),
        ),
        Entry::new(
            &format!("{SANDBOXES}/Update"),
            |bed| {
                Box::pin(async move {
                    let made = keep_sandbox(bed, sandbox(&bed.fresh("s"))).await.unwrap();
                    let mut given = made.clone();
                    given.labels = labels(&[("new", "1"), ("other", "not named")]);
                    given.extensions.clear();
                    let after = change_sandbox(bed, given, &["labels.new", "extensions.x"])
                        .await
                        .unwrap();
                    assert_eq!(after.labels, labels(&[("new", "1"), ("walk", &made.sandbox_id)]));
                    assert!(after.extensions.is_empty());
                })
            },
            Code::InvalidArgument,
            "cannot update \"created_at\" field",
            |bed| {
                Box::pin(async move {
                    let made = keep_sandbox(bed, sandbox(&bed.fresh("s"))).await.unwrap();
                    change_sandbox(bed, made, &["created_at"]).await.map(drop)
                })
            },
        ),
        Entry::new(
            &format!("{SANDBOXES}/Get"),
            |bed| {
                Box::pin(async move {
                    let made = keep_sandbox(bed, sandbox(&bed.fresh("s"))).await.unwrap();
                    assert_eq!(get_sandbox(bed, &made.sandbox_id).await.unwrap(), made);
                })
            },
            Code::NotFound,
            "nobody",
            |bed| Box::pin(async move { get_sandbox(bed, "nobody").await.map(drop) }),
        ),
        Entry::new(
            &format!("{SANDBOXES}/List"),
            |bed| {
                Box::pin(async move {
                    let made = keep_sandbox(bed, sandbox(&bed.fresh("s"))).await.unwrap();
                    let filters = vec![format!("labels.walk=={}", made.sandbox_id), "id==nobody".to_owned()];
                    let found = bed
                        .walk
                        .sandboxes()
                        .list(sandbox::StoreListRequest { filters })
                        .await
                        .unwrap();
                    assert_eq!(found.into_inner().list, [made]);
                })
            },
            Code::InvalidArgument,
            "unsupported operator",
            |bed| {
                Box::pin(async move {
                    let filters = vec!["id=one".to_owned()];
                    bed.walk
                        .sandboxes()
                        .list(sandbox::StoreListRequest { filters })
                        .await
                        .map(drop)
                })
            },
        ),
        Entry::new(
            &format!("{SANDBOXES}/Delete"),
            |bed| {
                Box::pin(async move {
                    let made = keep_sandbox(bed, sandbox(&bed.fresh("s"))).await.unwrap();
                    let request = sandbox::StoreDeleteRequest {
                        sandbox_id: made.sandbox_id.clone(),
                    };
                    bed.walk.sandboxes().delete(request).await.unwrap();
                    assert_eq!(
                        get_sandbox(bed, &made.sandbox_id).await.unwrap_err().code(),
                        Code::NotFound
                    );
                })
            },
            Code::FailedPrecondition,
            "namespace is required",
            |bed| {
                Box::pin(async move {
                    let request = sandbox::StoreDeleteRequest {
                        sandbox_id: NS.to_owned(),
                    };
                    bed.connection.anybody().sandboxes().delete(request).await.map(drop)
                })
            },
        ),
    ]
}
