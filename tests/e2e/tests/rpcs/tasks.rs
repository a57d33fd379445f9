//! The tasks service, with real containers under our shim.

use crate::bed::{Bed, Entry, cgroup, process};
use crate::records::{container, create_container};
use futures::future::BoxFuture;
use gantry_proto_containerd::any::{LINUX_RESOURCES, PROCESS, json, pack};
use gantry_proto_containerd::containerd::v1::types as wire;
use gantry_proto_containerd::runc::v1::Options;
use gantry_proto_containerd::services::tasks::v1 as pb;
use nix::sys::stat::Mode;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;
use tonic::{Code, Status};

const SERVICE: &str = "containerd.services.tasks.v1.Tasks";
const LONG: Duration = Duration::from_secs(30);

macro_rules! calls {
    ($($name:ident $request:ident -> $answer:ty;)*) => {
        $(pub async fn $name(bed: &Bed, request: pb::$request) -> Result<$answer, Status> {
            Ok(bed.walk.tasks().$name(request).await?.into_inner())
        })*
    };
}

calls! {
    create CreateTaskRequest -> pb::CreateTaskResponse;
    start StartRequest -> pb::StartResponse;
    delete DeleteTaskRequest -> pb::DeleteResponse;
    delete_process DeleteProcessRequest -> pb::DeleteResponse;
    get GetRequest -> pb::GetResponse;
    list ListTasksRequest -> pb::ListTasksResponse;
    kill KillRequest -> ();
    exec ExecProcessRequest -> ();
    resize_pty ResizePtyRequest -> ();
    close_io CloseIoRequest -> ();
    pause PauseTaskRequest -> ();
    resume ResumeTaskRequest -> ();
    list_pids ListPidsRequest -> pb::ListPidsResponse;
    checkpoint CheckpointTaskRequest -> pb::CheckpointTaskResponse;
    update UpdateTaskRequest -> ();
    metrics MetricsRequest -> pb::MetricsResponse;
    wait WaitRequest -> pb::WaitResponse;
}

/// A request with this container id, and whatever else is set.
macro_rules! of {
    ($request:ident, $id:expr $(, $field:ident: $value:expr)*) => {
        pb::$request {
            container_id: $id.to_string(),
            $($field: $value,)*
            ..Default::default()
        }
    };
}

pub fn entries() -> Vec<Entry> {
    let name = |method: &str| format!("{SERVICE}/{method}");
    vec![
        Entry::new(
            &name("Create"),
            create_well,
            Code::NotFound,
            "container \"nobody\"",
            |bed| Box::pin(async move { create(bed, of!(CreateTaskRequest, "nobody")).await.map(drop) }),
        ),
        Entry::new(&name("Start"), start_well, Code::NotFound, "task c-", |bed| {
            Box::pin(async move {
                // A container without a task.
                let made = create_container(bed, container(&bed.fresh("c"), "true")).await.unwrap();
                start(bed, of!(StartRequest, made.id)).await.map(drop)
            })
        }),
        Entry::new(
            &name("Delete"),
            delete_well,
            // In the words, and with the code, of containerd's own shim.
            Code::Unknown,
            "cannot delete a running process",
            |bed| {
                Box::pin(async move {
                    let id = running(bed, "exec sleep 100").await;
                    let refused = delete(bed, of!(DeleteTaskRequest, id)).await.map(drop);
                    end(bed, &id).await;
                    refused
                })
            },
        ),
        Entry::new(
            &name("DeleteProcess"),
            delete_process_well,
            Code::NotFound,
            "process does not exist nobody",
            |bed| {
                Box::pin(async move {
                    let id = running(bed, "exec sleep 100").await;
                    let request = of!(DeleteProcessRequest, id, exec_id: "nobody".to_owned());
                    let refused = delete_process(bed, request).await.map(drop);
                    end(bed, &id).await;
                    refused
                })
            },
        ),
        Entry::new(&name("Get"), get_well, Code::NotFound, "container \"nobody\"", |bed| {
            Box::pin(async move { get(bed, of!(GetRequest, "nobody")).await.map(drop) })
        }),
        Entry::new(
            &name("List"),
            |bed| {
                Box::pin(async move {
                    let id = running(bed, "exec sleep 100").await;
                    let found = list(bed, pb::ListTasksRequest::default()).await.unwrap().tasks;
                    assert!(
                        found
                            .iter()
                            .any(|one| one.container_id == id && one.status() == wire::Status::Running),
                        "{found:?}"
                    );
                    end(bed, &id).await;
                    let found = list(bed, pb::ListTasksRequest::default()).await.unwrap().tasks;
                    assert!(!found.iter().any(|one| one.container_id == id), "{found:?}");
                })
            },
            Code::InvalidArgument,
            "namespace validation",
            |bed| {
                Box::pin(async move {
                    let caller = bed.connection.of("bad/name");
                    caller.tasks().list(pb::ListTasksRequest::default()).await.map(drop)
                })
            },
        ),
        Entry::new(
            &name("Kill"),
            kill_well,
            Code::NotFound,
            "process already finished",
            |bed| {
                Box::pin(async move {
                    let id = running(bed, "exit 3").await;
                    ended(bed, &id, "").await;
                    let refused = kill(bed, of!(KillRequest, id, signal: 15)).await;
                    delete(bed, of!(DeleteTaskRequest, id)).await.unwrap();
                    refused
                })
            },
        ),
        Entry::new(&name("Exec"), exec_well, Code::InvalidArgument, "exec id", |bed| {
            Box::pin(async move {
                let id = running(bed, "exec sleep 100").await;
                let refused = added(bed, &id, "", &["/bin/true"]).await;
                end(bed, &id).await;
                refused
            })
        }),
        Entry::new(
            &name("ResizePty"),
            resize_well,
            Code::NotFound,
            "process does not exist nobody",
            |bed| {
                Box::pin(async move {
                    let id = running(bed, "exec sleep 100").await;
                    let request = of!(ResizePtyRequest, id, exec_id: "nobody".to_owned(), width: 80, height: 24);
                    let refused = resize_pty(bed, request).await;
                    end(bed, &id).await;
                    refused
                })
            },
        ),
        Entry::new(
            &name("CloseIO"),
            close_well,
            Code::NotFound,
            "container \"nobody\"",
            |bed| Box::pin(async move { close_io(bed, of!(CloseIoRequest, "nobody", stdin: true)).await }),
        ),
        Entry::new(
            &name("Pause"),
            pause_well,
            Code::NotFound,
            "container \"nobody\"",
            |bed| Box::pin(async move { pause(bed, of!(PauseTaskRequest, "nobody")).await }),
        ),
        Entry::new(
            &name("Resume"),
            pause_well,
            Code::NotFound,
            "container \"nobody\"",
            |bed| Box::pin(async move { resume(bed, of!(ResumeTaskRequest, "nobody")).await }),
        ),
        Entry::new(
            &name("ListPids"),
            pids_well,
            Code::NotFound,
            "container \"nobody\"",
            |bed| Box::pin(async move { list_pids(bed, of!(ListPidsRequest, "nobody")).await.map(drop) }),
        ),
        Entry::new(
            &name("Checkpoint"),
            checkpoint_well,
            Code::InvalidArgument,
            "checkpoint option",
            |bed| {
                Box::pin(async move {
                    let id = running(bed, "exec sleep 100").await;
                    let options = Some(json("walk.Text", "\"no options\""));
                    let refused = checkpoint(bed, of!(CheckpointTaskRequest, id, options: options))
                        .await
                        .map(drop);
                    end(bed, &id).await;
                    refused
                })
            },
        ),
        Entry::new(
            &name("Update"),
            update_well,
            Code::InvalidArgument,
            "reading the resources",
            |bed| {
                Box::pin(async move {
                    let id = running(bed, "exec sleep 100").await;
                    let resources = Some(json(LINUX_RESOURCES, "{\"memory\": \"much\"}"));
                    let refused = update(bed, of!(UpdateTaskRequest, id, resources: resources)).await;
                    end(bed, &id).await;
                    refused
                })
            },
        ),
        Entry::new(&name("Metrics"), metrics_well, Code::InvalidArgument, "id==", |bed| {
            Box::pin(async move {
                let filters = vec!["id==".to_owned()];
                metrics(bed, pb::MetricsRequest { filters }).await.map(drop)
            })
        }),
        Entry::new(
            &name("Wait"),
            |bed| {
                Box::pin(async move {
                    let id = running(bed, "exit 9").await;
                    let done = wait(bed, of!(WaitRequest, id)).await.unwrap();
                    assert_eq!(done.exit_status, 9);
                    assert!(done.exited_at.unwrap().seconds > 1_700_000_000);
                    let gone = delete(bed, of!(DeleteTaskRequest, id)).await.unwrap();
                    assert_eq!((gone.exit_status, gone.exited_at), (9, done.exited_at));
                })
            },
            Code::NotFound,
            "container \"nobody\"",
            |bed| Box::pin(async move { wait(bed, of!(WaitRequest, "nobody")).await.map(drop) }),
        ),
    ]
}

/// A container whose task has been made.
async fn made(bed: &Bed, script: &str) -> String {
    let id = bed.fresh(&format!("t{}", std::process::id()));
    create_container(bed, container(&id, script)).await.unwrap();
    let made = create(bed, of!(CreateTaskRequest, id, rootfs: bed.rootfs()))
        .await
        .unwrap();
    assert!(made.pid > 1 && made.container_id == id);
    id
}

/// A container whose task runs.
async fn running(bed: &Bed, script: &str) -> String {
    let id = made(bed, script).await;
    start(bed, of!(StartRequest, id)).await.unwrap();
    id
}

/// Kills the task and takes it away.
pub async fn end(bed: &Bed, id: &str) {
    kill(bed, of!(KillRequest, id, signal: 9, all: true)).await.unwrap();
    ended(bed, id, "").await;
    delete(bed, of!(DeleteTaskRequest, id)).await.unwrap();
}

/// The exit status of a process, once it has one.
async fn ended(bed: &Bed, id: &str, exec: &str) -> u32 {
    let done = wait(bed, of!(WaitRequest, id, exec_id: exec.to_owned()));
    let done = tokio::time::timeout(LONG, done).await.expect("it ends").unwrap();
    done.exit_status
}

async fn status(bed: &Bed, id: &str, exec: &str) -> wire::Process {
    let request = of!(GetRequest, id, exec_id: exec.to_owned());
    get(bed, request).await.unwrap().process.unwrap()
}

async fn added(bed: &Bed, id: &str, exec_id: &str, args: &[&str]) -> Result<(), Status> {
    let spec = Some(json(PROCESS, process(args, false).to_string()));
    exec(
        bed,
        of!(ExecProcessRequest, id, exec_id: exec_id.to_owned(), spec: spec),
    )
    .await
}

fn create_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = made(bed, "exec sleep 100").await;
        assert_eq!(status(bed, &id, "").await.status(), wire::Status::Created);
        let again = create(bed, of!(CreateTaskRequest, id, rootfs: bed.rootfs()))
            .await
            .unwrap_err();
        assert_eq!(again.code(), Code::AlreadyExists, "{again}");
        end(bed, &id).await;
    })
}

fn start_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = made(bed, "exec sleep 100").await;
        let started = start(bed, of!(StartRequest, id)).await.unwrap();
        let found = status(bed, &id, "").await;
        assert_eq!((found.status(), found.pid), (wire::Status::Running, started.pid));
        assert_eq!(found.exited_at.unwrap().seconds, -62_135_596_800, "the zero time of Go");
        end(bed, &id).await;
    })
}

/// The exit is told, and the name is free.
fn delete_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = running(bed, "exit 4").await;
        ended(bed, &id, "").await;
        let gone = delete(bed, of!(DeleteTaskRequest, id)).await.unwrap();
        assert_eq!((gone.exit_status, gone.pid > 1), (4, true));
        assert_eq!(
            delete(bed, of!(DeleteTaskRequest, id)).await.unwrap_err().code(),
            Code::NotFound
        );
        create(bed, of!(CreateTaskRequest, id, rootfs: bed.rootfs()))
            .await
            .unwrap();
        end(bed, &id).await;
    })
}

fn delete_process_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = running(bed, "exec sleep 100").await;
        added(bed, &id, "e", &["/bin/sh", "-c", "exit 6"]).await.unwrap();
        start(bed, of!(StartRequest, id, exec_id: "e".to_owned()))
            .await
            .unwrap();
        ended(bed, &id, "e").await;
        let gone = delete_process(bed, of!(DeleteProcessRequest, id, exec_id: "e".to_owned()))
            .await
            .unwrap();
        assert_eq!((gone.id.as_str(), gone.exit_status), ("e", 6));
        end(bed, &id).await;
    })
}

fn get_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = running(bed, "exit 5").await;
        ended(bed, &id, "").await;
        let found = status(bed, &id, "").await;
        assert_eq!(
            (found.container_id.as_str(), found.id.as_str()),
            (id.as_str(), id.as_str())
        );
        assert_eq!((found.status(), found.exit_status), (wire::Status::Stopped, 5));
        delete(bed, of!(DeleteTaskRequest, id)).await.unwrap();
    })
}

fn kill_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = running(bed, "trap 'exit 12' USR1; while true; do sleep 0.05; done").await;
        added(bed, &id, "e", &["/bin/sleep", "100"]).await.unwrap();
        start(bed, of!(StartRequest, id, exec_id: "e".to_owned()))
            .await
            .unwrap();
        kill(bed, of!(KillRequest, id, exec_id: "e".to_owned(), signal: 9))
            .await
            .unwrap();
        assert_eq!(ended(bed, &id, "e").await, 137);
        assert_eq!(status(bed, &id, "").await.status(), wire::Status::Running);
        // A signal may come before its trap is set.
        let mut code = None;
        for _ in 0..100 {
            let _ = kill(bed, of!(KillRequest, id, signal: 10)).await;
            let done = wait(bed, of!(WaitRequest, id));
            if let Ok(done) = tokio::time::timeout(Duration::from_millis(300), done).await {
                code = Some(done.unwrap().exit_status);
                break;
            }
        }
        assert!([Some(12), Some(138)].contains(&code), "{code:?}");
        delete(bed, of!(DeleteTaskRequest, id)).await.unwrap();
    })
}

/// Only added by this; it runs when it is started.
fn exec_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = running(bed, "exec sleep 100").await;
        let out = bed.dir.join(format!("{id}.out"));
        let request = of!(
            ExecProcessRequest, id,
            exec_id: "e".to_owned(),
            stdout: format!("file://{}", out.display()),
            spec: Some(json(PROCESS, process(&["/bin/sh", "-c", "echo added; exit 2"], false).to_string()))
        );
        exec(bed, request).await.unwrap();
        assert_eq!(status(bed, &id, "e").await.status(), wire::Status::Created);
        let again = added(bed, &id, "e", &["/bin/true"]).await.unwrap_err();
        assert_eq!(again.code(), Code::AlreadyExists, "{again}");
        start(bed, of!(StartRequest, id, exec_id: "e".to_owned()))
            .await
            .unwrap();
        assert_eq!(ended(bed, &id, "e").await, 2);
        assert_eq!(fs::read_to_string(out).unwrap(), "added\n");
        end(bed, &id).await;
    })
}

/// A FIFO that somebody holds open, so that neither side waits for the other.
fn fifo(bed: &Bed, name: &str) -> (PathBuf, File) {
    let path = bed.dir.join(name);
    nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
    let held = File::options().read(true).write(true).open(&path).unwrap();
    (path, held)
}

fn resize_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = running(bed, "exec sleep 100").await;
        let (out, _held) = fifo(bed, &format!("{id}.tty"));
        let script = "while ! stty size | grep -q '33 77'; do sleep 0.05; done; exit 21";
        let request = of!(
            ExecProcessRequest, id,
            exec_id: "tty".to_owned(),
            terminal: true,
            stdout: out.display().to_string(),
            spec: Some(json(PROCESS, process(&["/bin/sh", "-c", script], true).to_string()))
        );
        exec(bed, request).await.unwrap();
        start(bed, of!(StartRequest, id, exec_id: "tty".to_owned()))
            .await
            .unwrap();
        let request = of!(ResizePtyRequest, id, exec_id: "tty".to_owned(), width: 77, height: 33);
        resize_pty(bed, request).await.unwrap();
        assert_eq!(ended(bed, &id, "tty").await, 21);
        end(bed, &id).await;
    })
}

/// The reader sees the end, though somebody still could write.
fn close_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = running(bed, "exec sleep 100").await;
        let (input, mut held) = fifo(bed, &format!("{id}.in"));
        let out = bed.dir.join(format!("{id}.cat"));
        let request = of!(
            ExecProcessRequest, id,
            exec_id: "cat".to_owned(),
            stdin: input.display().to_string(),
            stdout: format!("file://{}", out.display()),
            spec: Some(json(PROCESS, process(&["/bin/cat"], false).to_string()))
        );
        exec(bed, request).await.unwrap();
        start(bed, of!(StartRequest, id, exec_id: "cat".to_owned()))
            .await
            .unwrap();
        std::io::Write::write_all(&mut held, b"through a pipe").unwrap();
        gantry_e2e::eventually("it is copied", LONG, || {
            fs::read(&out).is_ok_and(|text| text == b"through a pipe")
        });
        close_io(bed, of!(CloseIoRequest, id, exec_id: "cat".to_owned(), stdin: true))
            .await
            .unwrap();
        assert_eq!(ended(bed, &id, "cat").await, 0);
        end(bed, &id).await;
    })
}

fn pause_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = running(bed, "exec sleep 100").await;
        pause(bed, of!(PauseTaskRequest, id)).await.unwrap();
        assert_eq!(status(bed, &id, "").await.status(), wire::Status::Paused);
        resume(bed, of!(ResumeTaskRequest, id)).await.unwrap();
        assert_eq!(status(bed, &id, "").await.status(), wire::Status::Running);
        end(bed, &id).await;
    })
}

fn pids_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = running(bed, "exec sleep 100").await;
        added(bed, &id, "e", &["/bin/sleep", "100"]).await.unwrap();
        let pid = start(bed, of!(StartRequest, id, exec_id: "e".to_owned()))
            .await
            .unwrap()
            .pid;
        let found = list_pids(bed, of!(ListPidsRequest, id)).await.unwrap().processes;
        assert_eq!(found.len(), 2, "{found:?}");
        let of_exec = found.iter().find(|one| one.pid == pid).unwrap();
        let info = of_exec.info.as_ref().unwrap();
        let details: gantry_proto_containerd::runc::v1::ProcessDetails =
            gantry_proto_containerd::any::unpack(info).unwrap();
        assert_eq!(details.exec_id, "e");
        end(bed, &id).await;
    })
}

/// criu runs on few kernels; what stands for runc here writes in its place. The rest of the way is the real one.
const STAND_IN: &str = r#"#!/bin/sh
previous=
for word in "$@"; do
    [ "$previous" = --image-path ] && image=$word
    previous=$word
    [ "$word" = checkpoint ] && found=yes
done
[ -n "$found" ] || exec runc "$@"
mkdir -p "$image" && echo frozen > "$image/inventory.img"
"#;

fn checkpoint_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let program = bed.dir.join("stand-in-for-runc");
        fs::write(&program, STAND_IN).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let id = bed.fresh(&format!("t{}", std::process::id()));
        create_container(bed, container(&id, "exec sleep 100")).await.unwrap();
        let options = Options {
            binary_name: program.display().to_string(),
            root: bed.dir.join("runc").display().to_string(),
            ..Options::default()
        };
        let request = of!(CreateTaskRequest, id, rootfs: bed.rootfs(), options: Some(pack(&options)));
        create(bed, request).await.unwrap();
        start(bed, of!(StartRequest, id)).await.unwrap();
        let found = checkpoint(bed, of!(CheckpointTaskRequest, id))
            .await
            .unwrap()
            .descriptors;
        let types: Vec<_> = found.iter().map(|one| one.media_type.as_str()).collect();
        assert_eq!(
            types[0], "application/vnd.containerd.container.criu.checkpoint.criu.tar",
            "{types:?}"
        );
        assert_eq!(types.len(), 2, "the spec, too: {types:?}");
        end(bed, &id).await;
    })
}

fn update_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let id = running(bed, "exec sleep 100").await;
        let resources = Some(json(LINUX_RESOURCES, "{\"memory\": {\"limit\": 50331648}}"));
        update(bed, of!(UpdateTaskRequest, id, resources: resources))
            .await
            .unwrap();
        let group = format!("{}/{id}", cgroup());
        let files = [
            format!("/sys/fs/cgroup/memory/{group}/memory.limit_in_bytes"),
            format!("/sys/fs/cgroup/{group}/memory.max"),
        ];
        let limit = files.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap();
        assert_eq!(limit.trim(), "50331648");
        end(bed, &id).await;
    })
}

fn metrics_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let (id, other) = (
            running(bed, "exec sleep 100").await,
            running(bed, "exec sleep 100").await,
        );
        let filters = vec![format!("id=={id},namespace==walk")];
        let found = metrics(bed, pb::MetricsRequest { filters }).await.unwrap().metrics;
        assert_eq!(
            found.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(),
            [id.as_str()]
        );
        let data = found[0].data.as_ref().unwrap();
        let names = ["io.containerd.cgroups.v1.Metrics", "io.containerd.cgroups.v2.Metrics"];
        assert!(
            names.contains(&data.type_url.as_str()) && !data.value.is_empty(),
            "{data:?}"
        );
        for id in [id, other] {
            end(bed, &id).await;
        }
    })
}
