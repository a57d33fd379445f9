//! The sandbox service: a shim that is there before its containers, and stays between them.
//!
//! A sandbox here has no process of its own: it is the shim itself, with its bundle, its network namespace as it was told, and whatever
//! tasks are made in it by its address. It is ready once started; stopped, all of them are killed; shut down, the shim ends.

use crate::{
    failure::{Failure, Kind, Result},
    io::lock,
    shim::Shim,
    task::timestamp,
    verbs,
};
use async_trait::async_trait;
use gantry_proto_shim::{
    Sandbox,
    protobuf::MessageField,
    sandbox_api::{
        CreateSandboxRequest, CreateSandboxResponse, PingRequest, PingResponse, PlatformRequest, PlatformResponse,
        SandboxMetricsRequest, SandboxMetricsResponse, SandboxStatusRequest, SandboxStatusResponse,
        ShutdownSandboxRequest, ShutdownSandboxResponse, StartSandboxRequest, StartSandboxResponse, StopSandboxRequest,
        StopSandboxResponse, WaitSandboxRequest, WaitSandboxResponse,
    },
    ttrpc::{self, r#async::TtrpcContext},
};
use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, SystemTime},
};
use tokio::{sync::watch, time::timeout};

/// How long killed containers may take to end, unless the caller says.
const STOP: Duration = Duration::from_secs(10);

/// Serves `containerd.runtime.sandbox.v1.Sandbox`.
pub struct SandboxService {
    shim: Arc<Shim>,
    made: Mutex<Option<Made>>,
    /// When it stopped.
    ended: watch::Sender<Option<SystemTime>>,
}

#[derive(Clone)]
struct Made {
    id: String,
    netns: String,
    created_at: SystemTime,
    started: bool,
}

impl SandboxService {
    pub fn new(shim: Arc<Shim>) -> Self {
        Self {
            shim,
            made: Mutex::default(),
            ended: watch::Sender::new(None),
        }
    }

    fn find(&self, id: &str) -> Result<Made> {
        let made = lock(&self.made).clone();
        made.filter(|made| made.id == id)
            .ok_or_else(|| Failure::not_found("sandbox", id))
    }

    fn create(&self, request: CreateSandboxRequest) -> Result<()> {
        if request.sandbox_id.is_empty() {
            return Err(Failure::new(Kind::Invalid, "a sandbox needs an id"));
        }
        if !request.rootfs.is_empty() {
            let text = "a sandbox of this shim has no process, and so no root filesystem";
            return Err(Failure::new(Kind::Unsupported, text));
        }
        let mut made = lock(&self.made);
        if let Some(made) = &*made {
            let text = format!("this shim holds sandbox {} already", made.id);
            return Err(Failure::new(Kind::Exists, text));
        }
        *made = Some(Made {
            id: request.sandbox_id,
            netns: request.netns_path,
            created_at: SystemTime::now(),
            started: false,
        });
        Ok(())
    }

    fn start(&self, id: &str) -> Result<Made> {
        self.find(id)?;
        if self.ended.borrow().is_some() {
            return Err(Failure::precondition(format!("sandbox {id} has been stopped")));
        }
        let mut made = lock(&self.made);
        let Some(made) = made.as_mut() else {
            return Err(Failure::not_found("sandbox", id));
        };
        if std::mem::replace(&mut made.started, true) {
            return Err(Failure::precondition(format!("sandbox {id} is started already")));
        }
        Ok(made.clone())
    }

    /// Kills whatever runs in it, and waits for the ends.
    async fn stop(&self, id: &str, limit: Duration) -> Result<()> {
        self.find(id)?;
        self.shim.closed.store(true, Ordering::Relaxed);
        let all = async {
            for container in self.shim.containers() {
                let killed = verbs::kill::kill(&self.shim, &container, "", libc::SIGKILL as u32, true).await;
                if killed.is_err_and(|failure| failure.kind != Kind::NotFound) {
                    continue;
                }
                if let Ok(process) = self.shim.process(&container, "") {
                    process.wait().await;
                }
            }
        };
        if timeout(limit, all).await.is_err() {
            let text = format!(
                "sandbox {id} has containers that do not end within {} s",
                limit.as_secs()
            );
            return Err(Failure::new(Kind::Aborted, text));
        }
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert_with(SystemTime::now);
            first
        });
        Ok(())
    }
}

type Answer<T> = ttrpc::Result<T>;

#[async_trait]
impl Sandbox for SandboxService {
    async fn create_sandbox(&self, _: &TtrpcContext, request: CreateSandboxRequest) -> Answer<CreateSandboxResponse> {
        self.create(request)?;
        Ok(CreateSandboxResponse::new())
    }

    async fn start_sandbox(&self, _: &TtrpcContext, request: StartSandboxRequest) -> Answer<StartSandboxResponse> {
        let made = self.start(&request.sandbox_id)?;
        Ok(StartSandboxResponse {
            pid: std::process::id(),
            created_at: MessageField::some(timestamp(made.created_at)),
            ..Default::default()
        })
    }

    async fn platform(&self, _: &TtrpcContext, request: PlatformRequest) -> Answer<PlatformResponse> {
        self.find(&request.sandbox_id)?;
        let mut response = PlatformResponse::new();
        let platform = response.platform.mut_or_insert_default();
        platform.os = "linux".to_owned();
        platform.architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
        .to_owned();
        Ok(response)
    }

    async fn stop_sandbox(&self, _: &TtrpcContext, request: StopSandboxRequest) -> Answer<StopSandboxResponse> {
        let limit = match request.timeout_secs {
            0 => STOP,
            seconds => Duration::from_secs(seconds.into()),
        };
        self.stop(&request.sandbox_id, limit).await?;
        Ok(StopSandboxResponse::new())
    }

    async fn wait_sandbox(&self, _: &TtrpcContext, request: WaitSandboxRequest) -> Answer<WaitSandboxResponse> {
        self.find(&request.sandbox_id)?;
        let mut ended = self.ended.subscribe();
        let at = ended.wait_for(Option::is_some).await.ok().and_then(|at| *at);
        Ok(WaitSandboxResponse {
            exit_status: 0,
            exited_at: MessageField::some(timestamp(at.unwrap_or_else(SystemTime::now))),
            ..Default::default()
        })
    }

    async fn sandbox_status(&self, _: &TtrpcContext, request: SandboxStatusRequest) -> Answer<SandboxStatusResponse> {
        let made = self.find(&request.sandbox_id)?;
        let ended = *self.ended.borrow();
        let mut response = SandboxStatusResponse {
            sandbox_id: made.id,
            pid: std::process::id(),
            state: match (made.started, ended) {
                (true, None) => "SANDBOX_READY",
                _ => "SANDBOX_NOTREADY",
            }
            .to_owned(),
            created_at: MessageField::some(timestamp(made.created_at)),
            exited_at: ended.map(timestamp).into(),
            ..Default::default()
        };
        if request.verbose {
            let mut containers = self.shim.containers();
            containers.sort();
            response.info.insert("netns".to_owned(), made.netns);
            response.info.insert("containers".to_owned(), containers.join(","));
        }
        Ok(response)
    }

    async fn ping_sandbox(&self, _: &TtrpcContext, request: PingRequest) -> Answer<PingResponse> {
        self.find(&request.sandbox_id)?;
        Ok(PingResponse::new())
    }

    /// Whatever runs is killed first: then the shim has nothing left to do.
    async fn shutdown_sandbox(
        &self,
        _: &TtrpcContext,
        request: ShutdownSandboxRequest,
    ) -> Answer<ShutdownSandboxResponse> {
        self.stop(&request.sandbox_id, STOP).await?;
        self.shim.shutdown.store(true, Ordering::Relaxed);
        let _ = std::fs::remove_file(&self.shim.config.task_socket);
        let _ = std::fs::remove_file(&self.shim.config.attach_socket);
        self.shim.change.notify_one();
        Ok(ShutdownSandboxResponse::new())
    }

    /// It uses what its containers use, and each of them tells that itself.
    async fn sandbox_metrics(
        &self,
        _: &TtrpcContext,
        request: SandboxMetricsRequest,
    ) -> Answer<SandboxMetricsResponse> {
        let made = self.find(&request.sandbox_id)?;
        let mut response = SandboxMetricsResponse::new();
        let metrics = response.metrics.mut_or_insert_default();
        metrics.id = made.id;
        metrics.timestamp = MessageField::some(timestamp(SystemTime::now()));
        Ok(response)
    }
}
