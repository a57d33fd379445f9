//! Sandboxes through containerd's controller: a shim that is there before its tasks, its life, its death, and a daemon that is started
//! again beside it.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod guests;

use gantry_e2e::client::{Caller, Connection};
use gantry_e2e::{House, HouseOptions, PATIENCE};
use gantry_proto_containerd::any::{json, unpack};
use gantry_proto_containerd::events::{SandboxCreate, SandboxExit, SandboxStart};
use gantry_proto_containerd::services::events::v1 as events;
use gantry_proto_containerd::services::sandbox::v1 as pb;
use gantry_proto_containerd::types;
use std::time::Duration;
use tonic::{Code, Status, Streaming};

const OURS: &str = "io.containerd.gantry.v1";
const SHIM: &str = "shim";

fn bare() -> House {
    House::with(HouseOptions {
        bare: true,
        ..HouseOptions::default()
    })
}

async fn caller(house: &House) -> Caller {
    Connection::dial(&house.socket()).await.of("pods")
}

fn sandbox(id: &str, runtime: &str) -> types::Sandbox {
    types::Sandbox {
        sandbox_id: id.to_owned(),
        runtime: Some(types::sandbox::Runtime {
            name: runtime.to_owned(),
            options: None,
        }),
        spec: Some(json(
            "types.containerd.io/opencontainers/runtime-spec/1/Spec",
            "{\"ociVersion\":\"1.1.0\"}",
        )),
        sandboxer: SHIM.to_owned(),
        ..types::Sandbox::default()
    }
}

async fn create(caller: &Caller, id: &str, sandbox: Option<types::Sandbox>, sandboxer: &str) -> Result<String, Status> {
    let request = pb::ControllerCreateRequest {
        sandbox_id: id.to_owned(),
        netns_path: "/proc/self/ns/net".to_owned(),
        sandbox,
        sandboxer: sandboxer.to_owned(),
        ..pb::ControllerCreateRequest::default()
    };
    Ok(caller.controller().create(request).await?.into_inner().sandbox_id)
}

async fn start(caller: &Caller, id: &str) -> Result<pb::ControllerStartResponse, Status> {
    let request = pb::ControllerStartRequest {
        sandbox_id: id.to_owned(),
        sandboxer: SHIM.to_owned(),
    };
    Ok(caller.controller().start(request).await?.into_inner())
}

async fn status(caller: &Caller, id: &str) -> Result<pb::ControllerStatusResponse, Status> {
    let request = pb::ControllerStatusRequest {
        sandbox_id: id.to_owned(),
        verbose: true,
        sandboxer: SHIM.to_owned(),
    };
    Ok(caller.controller().status(request).await?.into_inner())
}

async fn stop(caller: &Caller, id: &str) -> Result<(), Status> {
    let request = pb::ControllerStopRequest {
        sandbox_id: id.to_owned(),
        timeout_secs: 5,
        sandboxer: SHIM.to_owned(),
    };
    caller.controller().stop(request).await.map(drop)
}

async fn shutdown(caller: &Caller, id: &str) -> Result<(), Status> {
    let request = pb::ControllerShutdownRequest {
        sandbox_id: id.to_owned(),
        sandboxer: SHIM.to_owned(),
    };
    caller.controller().shutdown(request).await.map(drop)
}

async fn wait(caller: &Caller, id: &str) -> Result<pb::ControllerWaitResponse, Status> {
    let request = pb::ControllerWaitRequest {
        sandbox_id: id.to_owned(),
        sandboxer: SHIM.to_owned(),
    };
    Ok(caller.controller().wait(request).await?.into_inner())
}

fn waiting(caller: &Caller, id: &str) -> tokio::task::JoinHandle<Result<pb::ControllerWaitResponse, Status>> {
    let (caller, id) = (caller.clone(), id.to_owned());
    tokio::spawn(async move { wait(&caller, &id).await })
}

async fn platform(caller: &Caller, id: &str) -> Result<types::Platform, Status> {
    let request = pb::ControllerPlatformRequest {
        sandbox_id: id.to_owned(),
        sandboxer: SHIM.to_owned(),
    };
    Ok(caller
        .controller()
        .platform(request)
        .await?
        .into_inner()
        .platform
        .unwrap())
}

async fn listen(caller: &Caller) -> Streaming<types::Envelope> {
    let request = events::SubscribeRequest {
        filters: vec!["namespace==pods,topic~=|^/sandboxes/|".to_owned()],
    };
    caller.events().subscribe(request).await.unwrap().into_inner()
}

async fn next(events: &mut Streaming<types::Envelope>) -> types::Envelope {
    let next = tokio::time::timeout(PATIENCE, events.message())
        .await
        .expect("an event comes");
    next.unwrap().unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

#[test]
fn a_sandbox_lives_is_told_of_and_leaves_nothing() {
    let house = bare();
    run(async {
        let caller = caller(&house).await;
        let mut heard = listen(&caller).await;
        assert_eq!(
            create(&caller, "one", Some(sandbox("one", OURS)), SHIM).await.unwrap(),
            "one"
        );
        let again = create(&caller, "one", Some(sandbox("one", OURS)), SHIM)
            .await
            .unwrap_err();
        assert_eq!(again.code(), Code::AlreadyExists, "{again}");
        assert_eq!(status(&caller, "one").await.unwrap().state, "SANDBOX_NOTREADY");
        let started = start(&caller, "one").await.unwrap();
        assert!(
            started.address.starts_with("ttrpc+unix:///") && started.version == 3,
            "{started:?}"
        );
        assert!(started.pid > 0 && started.created_at.unwrap().seconds > 0);
        let twice = start(&caller, "one").await.unwrap_err();
        assert_eq!(twice.code(), Code::FailedPrecondition, "{twice}");
        let state = status(&caller, "one").await.unwrap();
        assert_eq!((state.state.as_str(), state.pid), ("SANDBOX_READY", started.pid));
        assert_eq!(state.info["netns"], "/proc/self/ns/net");
        assert_eq!(state.address, started.address);
        assert_eq!(platform(&caller, "one").await.unwrap().os, "linux");
        let request = pb::ControllerMetricsRequest {
            sandbox_id: "one".to_owned(),
            sandboxer: SHIM.to_owned(),
        };
        let metrics = caller
            .controller()
            .metrics(request)
            .await
            .unwrap()
            .into_inner()
            .metrics
            .unwrap();
        assert_eq!(metrics.id, "one");

        let waits = waiting(&caller, "one");
        stop(&caller, "one").await.unwrap();
        let ended = tokio::time::timeout(PATIENCE, waits).await.unwrap().unwrap().unwrap();
        assert!(ended.exit_status == 0 && ended.exited_at.unwrap().seconds > 0);
        assert_eq!(status(&caller, "one").await.unwrap().state, "SANDBOX_NOTREADY");
        stop(&caller, "one").await.unwrap();
        shutdown(&caller, "one").await.unwrap();
        let gone = status(&caller, "one").await.unwrap();
        assert!(
            gone.state.is_empty() && gone.exited_at.unwrap().seconds > 0,
            "as containerd answers of none"
        );
        let process = format!("/proc/{}", started.pid);
        gantry_e2e::eventually("the shim ends", PATIENCE, || !std::path::Path::new(&process).exists());
        stop(&caller, "one").await.unwrap();
        assert_eq!(shutdown(&caller, "one").await.unwrap_err().code(), Code::NotFound);
        assert_eq!(platform(&caller, "one").await.unwrap_err().code(), Code::NotFound);
        // Its name is free.
        create(&caller, "one", Some(sandbox("one", OURS)), SHIM).await.unwrap();
        shutdown(&caller, "one").await.unwrap();

        let made = next(&mut heard).await;
        assert_eq!(made.topic, "/sandboxes/create");
        assert_eq!(unpack::<SandboxCreate>(&made.event.unwrap()).unwrap().sandbox_id, "one");
        let begun = next(&mut heard).await;
        assert_eq!(unpack::<SandboxStart>(&begun.event.unwrap()).unwrap().sandbox_id, "one");
        let end = next(&mut heard).await;
        assert_eq!(
            (end.topic.as_str(), end.namespace.as_str()),
            ("/sandboxes/exit", "pods")
        );
        let end: SandboxExit = unpack(&end.event.unwrap()).unwrap();
        assert_eq!((end.sandbox_id.as_str(), end.exit_status), ("one", 0));
        assert_eq!(
            next(&mut heard).await.topic,
            "/sandboxes/create",
            "the end was told once"
        );
    });
}

#[test]
fn a_record_says_of_which_runtime_a_sandbox_is() {
    let house = bare();
    run(async {
        let caller = caller(&house).await;
        let nobody = create(&caller, "kept", None, SHIM).await.unwrap_err();
        assert_eq!(nobody.code(), Code::NotFound, "{nobody}");
        let request = pb::StoreCreateRequest {
            sandbox: Some(types::Sandbox {
                labels: [("a".to_owned(), "b".to_owned())].into(),
                ..sandbox("kept", OURS)
            }),
        };
        caller.sandboxes().create(request).await.unwrap();
        create(&caller, "kept", None, SHIM).await.unwrap();
        let started = start(&caller, "kept").await.unwrap();
        assert_eq!(started.labels, [("a".to_owned(), "b".to_owned())].into());
        let update = |id: &str, sandbox| pb::ControllerUpdateRequest {
            sandbox_id: id.to_owned(),
            sandboxer: SHIM.to_owned(),
            sandbox,
            fields: vec!["labels".to_owned()],
        };
        let given = Some(sandbox("kept", OURS));
        caller.controller().update(update("kept", given.clone())).await.unwrap();
        let none = caller.controller().update(update("nobody", given)).await.unwrap_err();
        assert_eq!(none.code(), Code::NotFound);
        let without = caller.controller().update(update("kept", None)).await.unwrap_err();
        assert_eq!(without.code(), Code::InvalidArgument);
        shutdown(&caller, "kept").await.unwrap();
    });
}

#[test]
fn a_daemon_finds_its_sandboxes_again_and_a_dead_shim_is_an_end() {
    let mut house = bare();
    let pid = run(async {
        let caller = caller(&house).await;
        for id in ["stays", "dies"] {
            create(&caller, id, Some(sandbox(id, OURS)), SHIM).await.unwrap();
        }
        start(&caller, "stays").await.unwrap();
        start(&caller, "dies").await.unwrap().pid
    });
    house.kill_daemon();
    kill(pid);
    house.start();
    run(async {
        let caller = caller(&house).await;
        assert_eq!(status(&caller, "stays").await.unwrap().state, "SANDBOX_READY");
        assert!(status(&caller, "dies").await.unwrap().state.is_empty());
        create(&caller, "dies", Some(sandbox("dies", OURS)), SHIM)
            .await
            .unwrap();
        let pid = start(&caller, "dies").await.unwrap().pid;
        let mut heard = listen(&caller).await;
        let waiter = caller.clone();
        let mut waits = Box::pin(async move { wait(&waiter, "dies").await });
        assert!(futures::poll!(&mut waits).is_pending());
        let waits = tokio::spawn(waits);
        // The call went out first on the one connection: the waiter is there before the end comes.
        for _ in 0..2 {
            assert_eq!(status(&caller, "dies").await.unwrap().state, "SANDBOX_READY");
        }
        kill(pid);
        let end: SandboxExit = unpack(&next(&mut heard).await.event.unwrap()).unwrap();
        assert_eq!((end.sandbox_id.as_str(), end.exit_status), ("dies", 255));
        let ended = tokio::time::timeout(PATIENCE, waits).await.unwrap().unwrap().unwrap();
        assert_eq!(ended.exit_status, 255);
        shutdown(&caller, "stays").await.unwrap();
    });
}

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn what_is_no_sandbox_is_refused_and_leaves_nothing() {
    let house = bare();
    run(async {
        let caller = caller(&house).await;
        let mut heard = listen(&caller).await;
        let ours = || Some(sandbox("one", OURS));
        for (id, given, sandboxer, code, said) in [
            (
                "one",
                ours(),
                "",
                Code::InvalidArgument,
                "controller name can not be empty",
            ),
            (
                "one",
                ours(),
                "podsandbox",
                Code::NotFound,
                "failed to get sandbox controller by podsandbox",
            ),
            ("", None, SHIM, Code::InvalidArgument, "invalid sandbox ID"),
            ("a/b", None, SHIM, Code::InvalidArgument, "invalid sandbox ID"),
            ("two", ours(), SHIM, Code::InvalidArgument, "sandbox one is not two"),
            (
                "one",
                Some(sandbox("one", "")),
                SHIM,
                Code::InvalidArgument,
                "names no runtime",
            ),
            (
                "one",
                Some(sandbox("one", "io.containerd.nosuch.v9")),
                SHIM,
                Code::Unknown,
                "containerd-shim-nosuch-v9",
            ),
            (
                "one",
                Some(sandbox("one", "io.containerd.runc.v2")),
                SHIM,
                Code::Unimplemented,
                "failed to create sandbox one",
            ),
        ] {
            let error = create(&caller, id, given, sandboxer).await.unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.message().contains(said), "{error}");
        }
        let request = pb::ControllerCreateRequest {
            sandbox_id: "one".to_owned(),
            rootfs: vec![types::Mount::default()],
            sandbox: ours(),
            sandboxer: SHIM.to_owned(),
            ..pb::ControllerCreateRequest::default()
        };
        let error = caller.controller().create(request).await.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented, "{error}");
        let error = start(&caller, "one").await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
        let error = waiting(&caller, "one").await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
        let anybody = caller.connection().anybody();
        let error = status(&anybody, "one").await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        let told = tokio::time::timeout(Duration::from_millis(200), heard.message()).await;
        assert!(told.is_err(), "nothing came about, and nothing was told: {told:?}");
    });
}
