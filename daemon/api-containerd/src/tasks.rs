//! containerd.services.tasks.v1.

use crate::call::{Answer, answer, finish, lease, namespace, refuse};
use crate::{Door, any, mounts};
use gantry_core::filter::{self, Adaptor};
use gantry_core::{ContainerId, Digest, Error, ErrorKind, ExecId, Namespace, Result};
use gantry_engine::{
    Blob, Deleted, Endpoint, NewCheckpoint, NewExec, NewTask, Process, ProcessExit, ProcessStatus, Stdio, TaskUpdate,
};
use gantry_proto_containerd::any::unpack;
use gantry_proto_containerd::runc::v1::CheckpointOptions;
use gantry_proto_containerd::services::tasks::v1 as pb;
use gantry_proto_containerd::time::timestamp;
use gantry_proto_containerd::{containerd::v1::types as process, types};
use std::borrow::Cow;
use tonic::{Request, Response, Status};

type Named = (Namespace, ContainerId, Option<ExecId>);

/// The process a request names, within its call's namespace.
fn named<T>(request: &Request<T>, container: &str, exec: &str) -> std::result::Result<Named, Status> {
    let ns = namespace(request)?;
    let exec = (!exec.is_empty())
        .then(|| ExecId::new(exec))
        .transpose()
        .map_err(refuse)?;
    Ok((ns, container_id(container)?, exec))
}

/// An id that cannot be is an id of nothing.
fn container_id(text: &str) -> std::result::Result<ContainerId, Status> {
    ContainerId::new(text).map_err(|_| refuse(Error::not_found(format!("container {text:?} in namespace: not found"))))
}

fn status(status: ProcessStatus) -> process::Status {
    match status {
        ProcessStatus::Unknown => process::Status::Unknown,
        ProcessStatus::Created => process::Status::Created,
        ProcessStatus::Running => process::Status::Running,
        ProcessStatus::Pausing => process::Status::Pausing,
        ProcessStatus::Paused => process::Status::Paused,
        ProcessStatus::Stopped => process::Status::Stopped,
    }
}

fn to_wire(found: Process) -> process::Process {
    let id = found.exec.map_or_else(|| found.container.to_string(), String::from);
    process::Process {
        container_id: found.container.to_string(),
        id,
        pid: found.pid,
        status: status(found.status).into(),
        stdin: found.stdio.stdin,
        stdout: found.stdio.stdout,
        stderr: found.stdio.stderr,
        terminal: found.stdio.terminal,
        exit_status: found.exit.map_or(0, |exit| exit.status),
        exited_at: Some(timestamp(found.exit.map(|exit| exit.at))),
    }
}

fn deleted(id: String, gone: Deleted) -> pb::DeleteResponse {
    pb::DeleteResponse {
        id,
        pid: gone.pid,
        exit_status: gone.exit.status,
        exited_at: Some(timestamp(Some(gone.exit.at))),
    }
}

fn blob(descriptor: types::Descriptor) -> Result<Blob> {
    let digest: Digest = descriptor
        .digest
        .parse()
        .map_err(|_| Error::invalid(format!("checkpoint digest {:?} is malformed", descriptor.digest)))?;
    Ok(Blob {
        media_type: descriptor.media_type,
        digest,
        size: u64::try_from(descriptor.size).unwrap_or(0),
    })
}

fn descriptor(blob: Blob) -> types::Descriptor {
    types::Descriptor {
        media_type: blob.media_type,
        digest: blob.digest.to_string(),
        size: blob.size.cast_signed(),
        ..types::Descriptor::default()
    }
}

/// A task in a filter: `id` and `namespace`.
struct Metered<'a>(&'a Namespace, &'a ContainerId);

impl Adaptor for Metered<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id", ..] => Some(self.1.as_str().into()),
            ["namespace", ..] => Some(self.0.as_str().into()),
            _ => None,
        }
    }
}

/// The shim that a caller sends a task to.
fn endpoint(address: &str, version: u32) -> Result<Option<Endpoint>> {
    match (address, version) {
        ("", 0) => Ok(None),
        ("", _) => Err(Error::invalid("task_api_version is given without a task_api_address")),
        _ => Endpoint::parse(address, version).map(Some).ok_or_else(|| {
            let text = format!(
                "task_api_address {address:?} in version {version} is not served: it must be ttrpc+unix:///<path> in version 2 or 3"
            );
            Error::new(ErrorKind::Unimplemented, text)
        }),
    }
}

fn new_task(request: pb::CreateTaskRequest) -> Result<NewTask> {
    let guest_of = endpoint(&request.task_api_address, request.task_api_version)?;
    Ok(NewTask {
        rootfs: mounts::from_wire(request.rootfs),
        stdio: Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        },
        options: request.options.map(any::from_wire),
        runtime_path: request.runtime_path,
        guest_of,
        checkpoint: request.checkpoint.map(blob).transpose()?,
    })
}

#[tonic::async_trait]
impl pb::tasks_server::Tasks for Door {
    async fn create(&self, request: Request<pb::CreateTaskRequest>) -> Answer<pb::CreateTaskResponse> {
        let (ns, id, _) = named(&request, &request.get_ref().container_id, "")?;
        let new = new_task(request.into_inner()).map_err(refuse)?;
        let (tasks, container_id) = (self.rooms.engine.tasks(), id.to_string());
        let pid = finish(async move { tasks.create(&ns, &id, new).await }).await?;
        Ok(Response::new(pb::CreateTaskResponse { container_id, pid }))
    }

    async fn start(&self, request: Request<pb::StartRequest>) -> Answer<pb::StartResponse> {
        let (ns, id, exec) = named(&request, &request.get_ref().container_id, &request.get_ref().exec_id)?;
        let tasks = self.rooms.engine.tasks();
        let pid = finish(async move { tasks.start(&ns, &id, exec.as_ref()).await }).await?;
        Ok(Response::new(pb::StartResponse { pid }))
    }

    async fn delete(&self, request: Request<pb::DeleteTaskRequest>) -> Answer<pb::DeleteResponse> {
        let (ns, id, _) = named(&request, &request.get_ref().container_id, "")?;
        let (tasks, name) = (self.rooms.engine.tasks(), id.to_string());
        let gone = finish(async move { tasks.delete(&ns, &id).await }).await?;
        Ok(Response::new(deleted(name, gone)))
    }

    async fn delete_process(&self, request: Request<pb::DeleteProcessRequest>) -> Answer<pb::DeleteResponse> {
        let (ns, id, exec) = named(&request, &request.get_ref().container_id, &request.get_ref().exec_id)?;
        let exec = exec.ok_or_else(|| refuse(Error::invalid("exec id is required")))?;
        let (tasks, name) = (self.rooms.engine.tasks(), exec.to_string());
        let gone = finish(async move { tasks.delete_process(&ns, &id, &exec).await }).await?;
        Ok(Response::new(deleted(name, gone)))
    }

    async fn get(&self, request: Request<pb::GetRequest>) -> Answer<pb::GetResponse> {
        let (ns, id, exec) = named(&request, &request.get_ref().container_id, &request.get_ref().exec_id)?;
        let found = self.rooms.engine.tasks().get(&ns, &id, exec.as_ref()).await;
        answer(found.map(|found| pb::GetResponse {
            process: Some(to_wire(found)),
        }))
    }

    async fn list(&self, request: Request<pb::ListTasksRequest>) -> Answer<pb::ListTasksResponse> {
        let ns = namespace(&request)?;
        let found = self.rooms.engine.tasks().list(&ns).await;
        answer(found.map(|found| pb::ListTasksResponse {
            tasks: found.into_iter().map(to_wire).collect(),
        }))
    }

    async fn kill(&self, request: Request<pb::KillRequest>) -> Answer<()> {
        let (ns, id, exec) = named(&request, &request.get_ref().container_id, &request.get_ref().exec_id)?;
        let request = request.into_inner();
        let tasks = self.rooms.engine.tasks();
        finish(async move { tasks.kill(&ns, &id, exec.as_ref(), request.signal, request.all).await })
            .await
            .map(Response::new)
    }

    async fn exec(&self, request: Request<pb::ExecProcessRequest>) -> Answer<()> {
        let (ns, id, exec) = named(&request, &request.get_ref().container_id, &request.get_ref().exec_id)?;
        let exec = exec.ok_or_else(|| refuse(Error::invalid("exec id cannot be empty")))?;
        let request = request.into_inner();
        let new = NewExec {
            stdio: Stdio {
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                terminal: request.terminal,
            },
            spec: request.spec.map(any::from_wire),
        };
        let tasks = self.rooms.engine.tasks();
        finish(async move { tasks.exec(&ns, &id, &exec, new).await })
            .await
            .map(Response::new)
    }

    async fn resize_pty(&self, request: Request<pb::ResizePtyRequest>) -> Answer<()> {
        let (ns, id, exec) = named(&request, &request.get_ref().container_id, &request.get_ref().exec_id)?;
        let (width, height) = (request.get_ref().width, request.get_ref().height);
        let tasks = self.rooms.engine.tasks();
        answer(tasks.resize(&ns, &id, exec.as_ref(), width, height).await)
    }

    async fn close_io(&self, request: Request<pb::CloseIoRequest>) -> Answer<()> {
        let (ns, id, exec) = named(&request, &request.get_ref().container_id, &request.get_ref().exec_id)?;
        let tasks = self.rooms.engine.tasks();
        if !request.get_ref().stdin {
            // Nothing else can be closed; that the process is there is still asked.
            return answer(tasks.get(&ns, &id, exec.as_ref()).await.map(drop));
        }
        answer(tasks.close_stdin(&ns, &id, exec.as_ref()).await)
    }

    async fn pause(&self, request: Request<pb::PauseTaskRequest>) -> Answer<()> {
        let (ns, id, _) = named(&request, &request.get_ref().container_id, "")?;
        let tasks = self.rooms.engine.tasks();
        finish(async move { tasks.pause(&ns, &id).await })
            .await
            .map(Response::new)
    }

    async fn resume(&self, request: Request<pb::ResumeTaskRequest>) -> Answer<()> {
        let (ns, id, _) = named(&request, &request.get_ref().container_id, "")?;
        let tasks = self.rooms.engine.tasks();
        finish(async move { tasks.resume(&ns, &id).await })
            .await
            .map(Response::new)
    }

    async fn list_pids(&self, request: Request<pb::ListPidsRequest>) -> Answer<pb::ListPidsResponse> {
        let (ns, id, _) = named(&request, &request.get_ref().container_id, "")?;
        let found = self.rooms.engine.tasks().pids(&ns, &id).await;
        answer(found.map(|found| {
            let processes = found.into_iter().map(|one| process::ProcessInfo {
                pid: one.pid,
                info: one.info.map(any::to_wire),
            });
            pb::ListPidsResponse {
                processes: processes.collect(),
            }
        }))
    }

    async fn checkpoint(&self, request: Request<pb::CheckpointTaskRequest>) -> Answer<pb::CheckpointTaskResponse> {
        let (ns, id, _) = named(&request, &request.get_ref().container_id, "")?;
        let lease = lease(&request);
        let request = request.into_inner();
        let image_path = match &request.options {
            None => None,
            Some(options) => {
                let options: CheckpointOptions = unpack(options)
                    .map_err(|error| refuse(Error::invalid(format!("invalid task checkpoint option: {error}"))))?;
                Some(options.image_path).filter(|path| !path.is_empty())
            }
        };
        let new = NewCheckpoint {
            options: request.options.map(any::from_wire),
            image_path,
            lease,
        };
        let tasks = self.rooms.engine.tasks();
        let made = finish(async move { tasks.checkpoint(&ns, &id, new).await }).await?;
        Ok(Response::new(pb::CheckpointTaskResponse {
            descriptors: made.into_iter().map(descriptor).collect(),
        }))
    }

    async fn update(&self, request: Request<pb::UpdateTaskRequest>) -> Answer<()> {
        let (ns, id, _) = named(&request, &request.get_ref().container_id, "")?;
        let request = request.into_inner();
        let update = TaskUpdate {
            resources: request.resources.map(any::from_wire),
            annotations: request.annotations,
        };
        let tasks = self.rooms.engine.tasks();
        finish(async move { tasks.update(&ns, &id, update).await })
            .await
            .map(Response::new)
    }

    async fn metrics(&self, request: Request<pb::MetricsRequest>) -> Answer<pb::MetricsResponse> {
        let ns = namespace(&request)?;
        let filter = filter::parse_all(&request.get_ref().filters).map_err(refuse)?;
        let tasks = self.rooms.engine.tasks();
        let wanted = |id: &ContainerId| filter.matches(&Metered(&ns, id));
        let found = tasks.metrics(&ns, wanted).await;
        answer(found.map(|found| {
            let metrics = found.into_iter().map(|metric| types::Metric {
                timestamp: Some(timestamp(Some(metric.at))),
                id: metric.container.to_string(),
                data: metric.data.map(any::to_wire),
            });
            pb::MetricsResponse {
                metrics: metrics.collect(),
            }
        }))
    }

    async fn wait(&self, request: Request<pb::WaitRequest>) -> Answer<pb::WaitResponse> {
        let (ns, id, exec) = named(&request, &request.get_ref().container_id, &request.get_ref().exec_id)?;
        let ended = self.rooms.engine.tasks().wait(&ns, &id, exec.as_ref()).await;
        answer(ended.map(|exit: ProcessExit| pb::WaitResponse {
            exit_status: exit.status,
            exited_at: Some(timestamp(Some(exit.at))),
        }))
    }
}
