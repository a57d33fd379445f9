//! The sandbox controller, with a shim as the sandbox.

use crate::bed::{Bed, Entry};
use crate::records::sandbox;
use futures::future::BoxFuture;
use gantry_proto_containerd::services::sandbox::v1 as pb;
use tonic::{Code, Status};

const SERVICE: &str = "containerd.services.sandbox.v1.Controller";
const SHIM: &str = "shim";

/// A call of a sandbox's under the controller that there is.
macro_rules! call {
    ($bed:expr, $call:ident $request:ident $id:expr $(, $field:ident: $value:expr)*) => {
        call!($bed, $call $request $id, sandboxer: SHIM.to_owned() $(, $field: $value)*;)
    };
    ($bed:expr, $call:ident $request:ident $id:expr $(, $field:ident: $value:expr)*;) => {
        async {
            let request = pb::$request {
                sandbox_id: $id.to_string(),
                $($field: $value,)*
                ..Default::default()
            };
            Ok::<_, Status>($bed.walk.controller().$call(request).await?.into_inner())
        }
    };
}

pub fn entries() -> Vec<Entry> {
    let name = |method: &str| format!("{SERVICE}/{method}");
    vec![
        Entry::new(
            &name("Create"),
            create_well,
            Code::InvalidArgument,
            "sandbox controller name can not be empty",
            |bed| {
                Box::pin(async move {
                    let id = bed.fresh("pod");
                    let request = call!(bed, create ControllerCreateRequest id, sandbox: Some(sandbox(&id)););
                    request.await.map(drop)
                })
            },
        ),
        Entry::new(&name("Start"), start_well, Code::NotFound, "nobody", |bed| {
            Box::pin(async move { call!(bed, start ControllerStartRequest "nobody").await.map(drop) })
        }),
        Entry::new(&name("Platform"), platform_well, Code::NotFound, "nobody", |bed| {
            Box::pin(async move { call!(bed, platform ControllerPlatformRequest "nobody").await.map(drop) })
        }),
        Entry::new(&name("Stop"), life, Code::NotFound, "controller by nobody", |bed| {
            Box::pin(async move {
                let request = call!(bed, stop ControllerStopRequest "pod", sandboxer: "nobody".to_owned(););
                request.await.map(drop)
            })
        }),
        Entry::new(&name("Wait"), life, Code::NotFound, "nobody", |bed| {
            Box::pin(async move { call!(bed, wait ControllerWaitRequest "nobody").await.map(drop) })
        }),
        Entry::new(
            &name("Status"),
            status_well,
            Code::InvalidArgument,
            "identifier",
            |bed| Box::pin(async move { call!(bed, status ControllerStatusRequest "bad/id").await.map(drop) }),
        ),
        Entry::new(&name("Shutdown"), life, Code::InvalidArgument, "identifier", |bed| {
            Box::pin(async move { call!(bed, shutdown ControllerShutdownRequest "bad/id").await.map(drop) })
        }),
        Entry::new(&name("Metrics"), metrics_well, Code::NotFound, "nobody", |bed| {
            Box::pin(async move { call!(bed, metrics ControllerMetricsRequest "nobody").await.map(drop) })
        }),
        Entry::new(
            &name("Update"),
            update_well,
            Code::InvalidArgument,
            "sandbox can not be nil",
            |bed| {
                Box::pin(async move {
                    let id = running(bed).await;
                    let refused = call!(bed, update ControllerUpdateRequest id).await.map(drop);
                    end(bed, &id).await;
                    refused
                })
            },
        ),
    ]
}

async fn made(bed: &Bed) -> String {
    let id = bed.fresh(&format!("pod{}", std::process::id()));
    let made = call!(bed, create ControllerCreateRequest id,
        sandbox: Some(sandbox(&id)), netns_path: "/proc/self/ns/net".to_owned());
    assert_eq!(made.await.unwrap().sandbox_id, id);
    id
}

async fn running(bed: &Bed) -> String {
    let id = made(bed).await;
    call!(bed, start ControllerStartRequest id).await.unwrap();
    id
}

async fn end(bed: &Bed, id: &str) {
    call!(bed, stop ControllerStopRequest id, timeout_secs: 5)
        .await
        .unwrap();
    call!(bed, shutdown ControllerShutdownRequest id).await.unwrap();
}

fn create_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = made(bed).await;
        let again = call!(bed, create ControllerCreateRequest id, sandbox: Some(sandbox(&id)));
        assert_eq!(again.await.unwrap_err().code(), Code::AlreadyExists);
        call!(bed, shutdown ControllerShutdownRequest id).await.unwrap();
    })
}

/// Where tasks of it are served, and by which version.
fn start_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = made(bed).await;
        let started = call!(bed, start ControllerStartRequest id).await.unwrap();
        assert!(started.address.starts_with("ttrpc+unix://"), "{started:?}");
        assert!([2, 3].contains(&started.version), "{started:?}");
        end(bed, &id).await;
    })
}

fn platform_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = running(bed).await;
        let found = call!(bed, platform ControllerPlatformRequest id)
            .await
            .unwrap()
            .platform
            .unwrap();
        assert_eq!(found.os, "linux");
        end(bed, &id).await;
    })
}

fn status_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = running(bed).await;
        let found = call!(bed, status ControllerStatusRequest id, verbose: true)
            .await
            .unwrap();
        assert_eq!(
            (found.sandbox_id.as_str(), found.state.as_str()),
            (id.as_str(), "SANDBOX_READY")
        );
        end(bed, &id).await;
    })
}

fn metrics_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = running(bed).await;
        call!(bed, metrics ControllerMetricsRequest id).await.unwrap();
        end(bed, &id).await;
    })
}

fn update_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = running(bed).await;
        let fields = vec!["labels".to_owned()];
        call!(bed, update ControllerUpdateRequest id, sandbox: Some(sandbox(&id)), fields: fields)
            .await
            .unwrap();
        end(bed, &id).await;
    })
}

/// Who waits hears of the end when it comes.
fn life(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = running(bed).await;
        let wait = call!(bed, wait ControllerWaitRequest id);
        let (waited, ()) = futures::join!(wait, end(bed, &id));
        assert!(waited.unwrap().exited_at.unwrap().seconds > 1_700_000_000);
        let gone = call!(bed, platform ControllerPlatformRequest id).await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound, "{gone}");
    })
}
