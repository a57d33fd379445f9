//! Containers that name a sandbox: their tasks are made in its shim, stay there when the daemon dies, and end with it.

use crate::{OURS, bare, caller, create, kill, run, sandbox, shutdown, start, status, stop};
use gantry_e2e::client::Caller;
use gantry_e2e::{House, PATIENCE, busybox_tar, eventually};
use gantry_proto_containerd::any::{SPEC, json};
use gantry_proto_containerd::containerd::v1::types as wire;
use gantry_proto_containerd::services::containers::v1 as containers;
use gantry_proto_containerd::services::tasks::v1 as tasks;
use gantry_proto_containerd::types::Mount;
use std::path::{Path, PathBuf};
use tonic::{Code, Status};

/// What the cgroups of this test's containers lie in.
struct Ground {
    cgroup: String,
    rootfs: PathBuf,
}

impl Ground {
    fn new(house: &House, name: &str) -> Self {
        let rootfs = house.root().join("rootfs");
        tar::Archive::new(busybox_tar()).unpack(&rootfs).unwrap();
        Self {
            cgroup: format!("gantry-guests-{}-{name}", std::process::id()),
            rootfs,
        }
    }

    async fn container(&self, caller: &Caller, id: &str, runtime: &str, sandbox: &str) {
        let caps = serde_json::json!(["CAP_KILL"]);
        let spec = serde_json::json!({
            "ociVersion": "1.0.2",
            "process": {
                "args": ["/bin/sleep", "1000"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
                "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            },
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            ],
            "linux": {
                "cgroupsPath": format!("/{}/{id}", self.cgroup),
                "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            },
        });
        let container = containers::Container {
            id: id.to_owned(),
            runtime: Some(containers::container::Runtime {
                name: runtime.to_owned(),
                options: None,
            }),
            spec: Some(json(SPEC, spec.to_string())),
            sandbox: sandbox.to_owned(),
            ..containers::Container::default()
        };
        let request = containers::CreateContainerRequest {
            container: Some(container),
        };
        caller.containers().create(request).await.unwrap();
    }

    /// Makes the task, at an address or where the record leads, and starts it.
    async fn task(&self, caller: &Caller, id: &str, address: &str) -> Result<u32, Status> {
        let request = tasks::CreateTaskRequest {
            container_id: id.to_owned(),
            rootfs: vec![Mount {
                r#type: "bind".to_owned(),
                source: self.rootfs.display().to_string(),
                target: String::new(),
                options: vec!["rbind".to_owned(), "ro".to_owned()],
            }],
            task_api_address: address.to_owned(),
            task_api_version: if address.is_empty() { 0 } else { 3 },
            ..tasks::CreateTaskRequest::default()
        };
        caller.tasks().create(request).await?;
        let request = tasks::StartRequest {
            container_id: id.to_owned(),
            ..tasks::StartRequest::default()
        };
        Ok(caller.tasks().start(request).await?.into_inner().pid)
    }
}

impl Drop for Ground {
    /// What runtimes make for a parent of cgroups, and leave.
    fn drop(&mut self) {
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(hierarchy.path().join(&self.cgroup));
        }
        let _ = std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(&self.cgroup));
    }
}

async fn state(caller: &Caller, id: &str) -> Result<wire::Process, Status> {
    let request = tasks::GetRequest {
        container_id: id.to_owned(),
        ..tasks::GetRequest::default()
    };
    let answer = caller.tasks().get(request).await?.into_inner();
    Ok(answer.process.unwrap())
}

async fn end(caller: &Caller, id: &str) -> u32 {
    let request = tasks::KillRequest {
        container_id: id.to_owned(),
        signal: 9,
        ..tasks::KillRequest::default()
    };
    caller.tasks().kill(request).await.unwrap();
    let request = tasks::WaitRequest {
        container_id: id.to_owned(),
        ..tasks::WaitRequest::default()
    };
    let wait = tokio::time::timeout(PATIENCE, caller.tasks().wait(request)).await;
    let status = wait.expect("it ends").unwrap().into_inner().exit_status;
    delete(caller, id).await.unwrap();
    status
}

async fn delete(caller: &Caller, id: &str) -> Result<(), Status> {
    let request = tasks::DeleteTaskRequest {
        container_id: id.to_owned(),
    };
    caller.tasks().delete(request).await.map(drop)
}

/// The keeper of a task hears of its end a little after whoever ended it.
async fn eventually_stopped(caller: &Caller, id: &str) {
    let request = tasks::WaitRequest {
        container_id: id.to_owned(),
        ..tasks::WaitRequest::default()
    };
    let wait = tokio::time::timeout(PATIENCE, caller.tasks().wait(request)).await;
    assert_eq!(wait.expect("it ends").unwrap().into_inner().exit_status, 137);
    assert_eq!(state(caller, id).await.unwrap().status(), wire::Status::Stopped);
}

fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after = stat.rsplit(')').next().unwrap();
    after.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn inside(caller: &Caller, sandbox: &str) -> String {
    status(caller, sandbox).await.unwrap().info["containers"].clone()
}

#[test]
fn tasks_of_a_sandbox_run_in_its_shim_and_outlive_the_daemon() {
    let mut house = bare();
    let ground = Ground::new(&house, "outlive");
    let shim = run(async {
        let caller = caller(&house).await;
        create(&caller, "pod", Some(sandbox("pod", OURS)), crate::SHIM)
            .await
            .unwrap();
        let started = start(&caller, "pod").await.unwrap();
        for id in ["one", "two"] {
            ground.container(&caller, id, OURS, "pod").await;
            let pid = ground.task(&caller, id, "").await.unwrap();
            assert_eq!(parent(pid), started.pid, "the sandbox's shim has {id}");
        }
        // Whoever is sent there by name comes there as well.
        ground.container(&caller, "named", OURS, "").await;
        let pid = ground.task(&caller, "named", &started.address).await.unwrap();
        assert_eq!(parent(pid), started.pid);
        assert_eq!(inside(&caller, "pod").await, "named,one,two");
        started.pid
    });
    house.kill_daemon();
    house.start();
    run(async {
        let caller = caller(&house).await;
        for id in ["one", "two", "named"] {
            let found = state(&caller, id).await.unwrap();
            assert_eq!(
                (found.status(), parent(found.pid)),
                (wire::Status::Running, shim),
                "{id}"
            );
        }
        assert_eq!(end(&caller, "one").await, 137);
        // Its name is free, and the shim still there for it.
        let again = ground.task(&caller, "one", "").await.unwrap();
        assert_eq!(parent(again), shim);
        for id in ["one", "two", "named"] {
            assert_eq!(end(&caller, id).await, 137);
        }
        assert_eq!(inside(&caller, "pod").await, "");
        assert_eq!(status(&caller, "pod").await.unwrap().state, "SANDBOX_READY");
        stop(&caller, "pod").await.unwrap();
        shutdown(&caller, "pod").await.unwrap();
        let process = format!("/proc/{shim}");
        eventually("the shim ends", PATIENCE, || !Path::new(&process).exists());
    });
}

#[test]
fn tasks_end_with_their_sandbox() {
    let house = bare();
    let ground = Ground::new(&house, "end");
    run(async {
        let caller = caller(&house).await;
        let mut shims = Vec::new();
        for (pod, id) in [("ends", "stopped"), ("dies", "killed")] {
            create(&caller, pod, Some(sandbox(pod, OURS)), crate::SHIM)
                .await
                .unwrap();
            shims.push(start(&caller, pod).await.unwrap().pid);
            ground.container(&caller, id, OURS, pod).await;
        }
        ground.task(&caller, "stopped", "").await.unwrap();
        stop(&caller, "ends").await.unwrap();
        eventually_stopped(&caller, "stopped").await;
        delete(&caller, "stopped").await.unwrap();
        let late = ground.task(&caller, "stopped", "").await.unwrap_err();
        assert_eq!(late.code(), Code::FailedPrecondition, "{late}");
        assert!(late.message().contains("the sandbox has been stopped"), "{late}");
        shutdown(&caller, "ends").await.unwrap();
        let pid = ground.task(&caller, "killed", "").await.unwrap();
        kill(shims[1]);
        let process = format!("/proc/{pid}");
        eventually("nothing is left of the task", PATIENCE, || {
            !Path::new(&process).exists() && !house.exec_root().join("pods/killed").exists()
        });
        let gone = state(&caller, "killed").await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound, "{gone}");
    });
}

#[test]
fn a_sandbox_that_is_not_there_takes_no_task() {
    let house = bare();
    let ground = Ground::new(&house, "none");
    run(async {
        let caller = caller(&house).await;
        ground.container(&caller, "lost", OURS, "nowhere").await;
        ground.container(&caller, "sent", OURS, "").await;
        for (id, address, code, said) in [
            ("lost", "", Code::NotFound, "sandbox nowhere not found"),
            (
                "sent",
                "ttrpc+unix:///run/no/such/shim",
                Code::Unavailable,
                "no/such/shim",
            ),
            ("sent", "grpc+vsock://3:1024", Code::Unimplemented, "is not served"),
        ] {
            let error = ground.task(&caller, id, address).await.unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.message().contains(said), "{error}");
            assert!(!house.exec_root().join("pods").join(id).exists(), "{id} leaves nothing");
        }
        // One that stands for a sandbox of its own, as all did before there were others.
        ground.container(&caller, "pause", OURS, "").await;
        let pid = ground.task(&caller, "pause", "").await.unwrap();
        ground.container(&caller, "guest", OURS, "pause").await;
        let guest = ground.task(&caller, "guest", "").await.unwrap();
        assert_eq!(parent(guest), parent(pid));
        assert_eq!(end(&caller, "guest").await, 137);
        assert_eq!(state(&caller, "pause").await.unwrap().status(), wire::Status::Running);
        assert_eq!(end(&caller, "pause").await, 137);
    });
}
