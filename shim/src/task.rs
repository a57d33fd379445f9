//! The task service: wire in, verb, wire out.

use crate::{
    child::{self, builtin, byname},
    failure::Result,
    foreign,
    io::lock,
    shim::{Exited, Phase, Process, Runtime, Shim},
    verbs::{self, create::call},
};
use async_trait::async_trait;
use gantry_proto_shim::{
    CREATE_OPTIONS_TYPE, Task, any,
    api::{
        CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse,
        DeleteRequest, DeleteResponse, ExecProcessRequest, KillRequest, PauseRequest, PidsRequest, PidsResponse,
        ProcessInfo, ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest, StartResponse, StateRequest,
        StateResponse, StatsRequest, StatsResponse, Status, UpdateTaskRequest, WaitRequest, WaitResponse,
    },
    is_type,
    protobuf::Message,
    protobuf::{
        EnumOrUnknown, MessageField,
        well_known_types::{empty::Empty, timestamp::Timestamp},
    },
    runc_options::ProcessDetails,
    task_events::task::{
        TaskCheckpointed, TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskIO, TaskPaused, TaskResumed,
        TaskStart,
    },
    topics,
    ttrpc::{self, r#async::TtrpcContext},
};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// Serves `containerd.task.v2.Task` and `containerd.task.v3.Task`.
pub struct TaskService(pub Arc<Shim>);

type Answer<T> = ttrpc::Result<T>;

impl TaskService {
    /// The engine hears what happened to its containers in our words; clients of containerd in those of containerd's own shim.
    fn tell<T>(&self, id: &str, done: Result<T>) -> Answer<T> {
        let driven = || self.0.container(id).is_ok_and(|container| container.driven);
        done.map_err(|failure| if driven() { failure } else { failure.for_clients() }.into())
    }

    fn process(&self, id: &str, exec: &str) -> Answer<Arc<Process>> {
        self.tell(id, self.0.process(id, exec))
    }
}

#[async_trait]
impl Task for TaskService {
    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> Answer<StateResponse> {
        let container = self.tell(&request.id, self.0.container(&request.id))?;
        let process = self.process(&request.id, &request.exec_id)?;
        let life = process.life();
        let exited = process.exited();
        Ok(StateResponse {
            id: request.id,
            bundle: container.bundle.to_string_lossy().into_owned(),
            pid: life.pid,
            status: EnumOrUnknown::new(status(life.phase, container.is_paused() && process.exec.is_none())),
            stdin: process.names.stdin.clone(),
            stdout: process.names.stdout.clone(),
            stderr: process.names.stderr.clone(),
            terminal: process.terminal,
            exit_status: exited.as_ref().map_or(0, |exited| exited.status),
            exited_at: exited
                .map(|exited| timestamp(exited.at))
                .or_else(|| Some(zero_time()))
                .into(),
            exec_id: request.exec_id,
            ..Default::default()
        })
    }

    async fn create(&self, _: &TtrpcContext, request: CreateTaskRequest) -> Answer<CreateTaskResponse> {
        let mut event = TaskCreate {
            container_id: request.id.clone(),
            bundle: request.bundle.clone(),
            rootfs: request.rootfs.clone(),
            io: MessageField::some(TaskIO {
                stdin: request.stdin.clone(),
                stdout: request.stdout.clone(),
                stderr: request.stderr.clone(),
                terminal: request.terminal,
                ..Default::default()
            }),
            ..Default::default()
        };
        let driven = request
            .options
            .as_ref()
            .is_some_and(|any| is_type(any, CREATE_OPTIONS_TYPE));
        let made = verbs::create::create(&self.0, request).await;
        // What could not be made is not there to be asked who drives it.
        let pid = made.map_err(|failure| if driven { failure } else { failure.for_clients() })?;
        event.pid = pid;
        self.0.events.tell(topics::TASK_CREATE_EVENT_TOPIC, &event);
        Ok(CreateTaskResponse {
            pid,
            ..Default::default()
        })
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> Answer<StartResponse> {
        let process = self.process(&request.id, &request.exec_id)?;
        let container_id = request.id.clone();
        let started = if request.exec_id.is_empty() {
            let started = verbs::start::start(&self.0, &request.id).await;
            if let Ok(pid) = started {
                self.0.events.tell(
                    topics::TASK_START_EVENT_TOPIC,
                    &TaskStart {
                        container_id,
                        pid,
                        ..Default::default()
                    },
                );
            }
            started
        } else {
            let started = verbs::exec::start(&self.0, &request.id, &request.exec_id).await;
            if let Ok(pid) = started {
                let event = TaskExecStarted {
                    container_id,
                    exec_id: request.exec_id,
                    pid,
                    ..Default::default()
                };
                self.0.events.tell(topics::TASK_EXEC_STARTED_EVENT_TOPIC, &event);
            }
            started
        };
        process.announce(&self.0.events);
        let pid = self.tell(&process.container, started)?;
        Ok(StartResponse {
            pid,
            ..Default::default()
        })
    }

    async fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> Answer<DeleteResponse> {
        let deleted = verbs::delete::delete(&self.0, &request.id, &request.exec_id).await;
        let (pid, exited) = self.tell(&request.id, deleted)?;
        let event = TaskDelete {
            container_id: request.id,
            id: request.exec_id,
            pid,
            exit_status: exited.status,
            exited_at: MessageField::some(timestamp(exited.at)),
            ..Default::default()
        };
        self.0.events.tell(topics::TASK_DELETE_EVENT_TOPIC, &event);
        Ok(DeleteResponse {
            pid,
            exit_status: exited.status,
            exited_at: MessageField::some(timestamp(exited.at)),
            ..Default::default()
        })
    }

    async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> Answer<PidsResponse> {
        let container = self.tell(&request.id, self.0.container(&request.id))?;
        if let Some(foreign) = &container.foreign {
            return Ok(foreign::verbs::pids(foreign).await?);
        }
        let execs: HashMap<u32, String> = lock(&container.execs)
            .iter()
            .map(|(id, exec)| (exec.life().pid, id.clone()))
            .collect();
        let info = |pid: u32| {
            let details = execs.get(&pid).map(|id| ProcessDetails {
                exec_id: id.clone(),
                ..Default::default()
            });
            let details = details.and_then(|details| details.write_to_bytes().ok());
            ProcessInfo {
                pid,
                info: details
                    .map(|bytes| any("containerd.runc.v1.ProcessDetails", bytes))
                    .into(),
                ..Default::default()
            }
        };
        let processes = container.cgroups().pids().into_iter().map(info).collect();
        Ok(PidsResponse {
            processes,
            ..Default::default()
        })
    }

    async fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> Answer<Empty> {
        self.tell(&request.id, verbs::pause::pause(&self.0, &request.id).await)?;
        self.0.events.tell(
            topics::TASK_PAUSED_EVENT_TOPIC,
            &TaskPaused {
                container_id: request.id,
                ..Default::default()
            },
        );
        Ok(Empty::new())
    }

    async fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> Answer<Empty> {
        self.tell(&request.id, verbs::pause::resume(&self.0, &request.id).await)?;
        self.0.events.tell(
            topics::TASK_RESUMED_EVENT_TOPIC,
            &TaskResumed {
                container_id: request.id,
                ..Default::default()
            },
        );
        Ok(Empty::new())
    }

    async fn checkpoint(&self, _: &TtrpcContext, request: CheckpointTaskRequest) -> Answer<Empty> {
        self.tell(&request.id, verbs::checkpoint::checkpoint(&self.0, &request).await)?;
        self.0.events.tell(
            topics::TASK_CHECKPOINTED_EVENT_TOPIC,
            &TaskCheckpointed {
                container_id: request.id,
                checkpoint: request.path,
                ..Default::default()
            },
        );
        Ok(Empty::new())
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> Answer<Empty> {
        let killed = verbs::kill::kill(&self.0, &request.id, &request.exec_id, request.signal, request.all).await;
        self.tell(&request.id, killed)?;
        Ok(Empty::new())
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> Answer<Empty> {
        let event = TaskExecAdded {
            container_id: request.id.clone(),
            exec_id: request.exec_id.clone(),
            ..Default::default()
        };
        self.tell(&event.container_id, verbs::exec::add(&self.0, request).await)?;
        self.0.events.tell(topics::TASK_EXEC_ADDED_EVENT_TOPIC, &event);
        Ok(Empty::new())
    }

    async fn resize_pty(&self, _: &TtrpcContext, request: ResizePtyRequest) -> Answer<Empty> {
        self.process(&request.id, &request.exec_id)?
            .resize(request.height as u16, request.width as u16);
        Ok(Empty::new())
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> Answer<Empty> {
        let process = self.process(&request.id, &request.exec_id)?;
        if request.stdin {
            process.stdin.close();
        }
        Ok(Empty::new())
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> Answer<Empty> {
        let container = self.tell(&request.id, self.0.container(&request.id))?;
        if let Some(foreign) = &container.foreign {
            foreign::verbs::update(foreign, request).await?;
            return Ok(Empty::new());
        }
        let resources = request.resources.into_option().map(|any| any.value).unwrap_or_default();
        let path = lock(&container.cgroup_path).clone();
        let dir = container.dir();
        let child = child::spawn(&self.0, &[], || match &container.runtime {
            Runtime::Builtin => builtin::update(&container.id, &path, &resources),
            Runtime::Program(program) => byname::update(&call(&self.0, &container, program, &dir, None), &resources),
        })?;
        child.answer::<()>().await?;
        Ok(Empty::new())
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> Answer<WaitResponse> {
        let process = self.process(&request.id, &request.exec_id)?;
        let Exited { status, at, .. } = process.wait().await;
        Ok(WaitResponse {
            exit_status: status,
            exited_at: MessageField::some(timestamp(at)),
            ..Default::default()
        })
    }

    async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> Answer<StatsResponse> {
        let container = self.tell(&request.id, self.0.container(&request.id))?;
        if let Some(foreign) = &container.foreign {
            return Ok(foreign::verbs::stats(foreign).await?);
        }
        let stats = verbs::stats::read(&container.cgroups());
        self.0.tidy_memory();
        Ok(StatsResponse {
            stats: MessageField::some(stats),
            ..Default::default()
        })
    }

    async fn connect(&self, _: &TtrpcContext, request: ConnectRequest) -> Answer<ConnectResponse> {
        self.0.events.poke();
        let task_pid = self
            .0
            .container(&request.id)
            .map_or(0, |container| container.init.life().pid);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            version,
            ..Default::default()
        })
    }

    async fn shutdown(&self, _: &TtrpcContext, request: ShutdownRequest) -> Answer<Empty> {
        if request.now || !self.0.has_containers() {
            self.0.shutdown.store(true, Ordering::Relaxed);
            // What they held, ports of the host for one, is free from now on, however long clients drain.
            self.0.with_kept(std::collections::BTreeMap::clear);
            // A successor may take the names while clients of this one still drain.
            let _ = std::fs::remove_file(&self.0.config.task_socket);
            let _ = std::fs::remove_file(&self.0.config.attach_socket);
            self.0.change.notify_one();
        }
        Ok(Empty::new())
    }
}

fn status(phase: Phase, paused: bool) -> Status {
    match phase {
        Phase::Added | Phase::Creating | Phase::Created | Phase::Starting => Status::CREATED,
        Phase::Running if paused => Status::PAUSED,
        Phase::Running => Status::RUNNING,
        Phase::Stopped => Status::STOPPED,
    }
}

pub fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: since.as_secs() as i64,
        nanos: since.subsec_nanos() as i32,
        ..Default::default()
    }
}

/// The year 1, which is how "not yet" is said on this wire.
fn zero_time() -> Timestamp {
    Timestamp {
        seconds: -62_135_596_800,
        ..Default::default()
    }
}
