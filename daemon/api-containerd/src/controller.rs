//! containerd.services.sandbox.v1.Controller.

use crate::call::{Answer, finish, namespace, refuse};
use crate::{Door, any, identifier, sandboxes};
use gantry_core::{ContainerId, Error, ErrorKind, Mount, Result};
use gantry_engine::{NewSandbox, Sandboxes};
use gantry_proto_containerd::services::sandbox::v1 as pb;
use gantry_proto_containerd::time::timestamp;
use gantry_proto_containerd::types as wire;
use std::time::{Duration, SystemTime};
use tonic::{Request, Response, Status};

/// The one controller there is: a sandbox is a shim that serves containerd's sandbox API.
const SHIM: &str = "shim";

impl Door {
    /// The controller of this name.
    fn controller(&self, sandboxer: &str) -> std::result::Result<Sandboxes, Status> {
        match sandboxer {
            SHIM => Ok(self.rooms.engine.sandboxes()),
            "" => Err(refuse(Error::invalid(
                "invalid argument: sandbox controller name can not be empty",
            ))),
            other => {
                let text = format!("not found: failed to get sandbox controller by {other}");
                Err(refuse(Error::not_found(text)))
            }
        }
    }
}

fn known(id: &str) -> std::result::Result<ContainerId, Status> {
    let bad = |_| Error::invalid(format!("invalid sandbox ID: {}", identifier::refused(id)));
    ContainerId::new(id).map_err(bad).map_err(refuse)
}

fn mount(given: wire::Mount) -> Mount {
    Mount {
        kind: given.r#type,
        source: given.source,
        target: given.target,
        options: given.options,
    }
}

fn given(sandbox: Option<wire::Sandbox>, id: &ContainerId) -> Result<Option<gantry_core::meta::Sandbox>> {
    let Some(sandbox) = sandbox else { return Ok(None) };
    let read = sandboxes::from_wire(sandbox)?;
    match read.id == *id {
        true => Ok(Some(read)),
        false => Err(Error::invalid(format!("sandbox {} is not {id}", read.id))),
    }
}

#[tonic::async_trait]
impl pb::controller_server::Controller for Door {
    async fn create(&self, request: Request<pb::ControllerCreateRequest>) -> Answer<pb::ControllerCreateResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let sandboxes = self.controller(&request.sandboxer)?;
        // A client may name it in one place or the other.
        let id = match (&request.sandbox, request.sandbox_id.as_str()) {
            (Some(sandbox), "") => known(&sandbox.sandbox_id)?,
            (_, id) => known(id)?,
        };
        let sandbox = given(request.sandbox, &id).map_err(refuse)?;
        let new = NewSandbox {
            rootfs: request.rootfs.into_iter().map(mount).collect(),
            options: request.options.map(any::from_wire),
            netns_path: request.netns_path,
            annotations: request.annotations.into_iter().collect(),
        };
        let name = id.clone();
        finish(async move { sandboxes.create(&ns, &name, sandbox, new).await }).await?;
        Ok(Response::new(pb::ControllerCreateResponse {
            sandbox_id: id.to_string(),
        }))
    }

    async fn start(&self, request: Request<pb::ControllerStartRequest>) -> Answer<pb::ControllerStartResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let sandboxes = self.controller(&request.sandboxer)?;
        let id = known(&request.sandbox_id)?;
        let labels = match self.rooms.engine.meta().sandbox(&ns, &id).await {
            Ok(record) => record.labels,
            // It may run without a record.
            Err(_) => Default::default(),
        };
        let running = finish(async move { sandboxes.start(&ns, &id).await }).await?;
        Ok(Response::new(pb::ControllerStartResponse {
            sandbox_id: request.sandbox_id,
            pid: running.started.pid,
            created_at: Some(timestamp(running.started.created_at)),
            labels,
            address: running.address,
            version: running.version,
            spec: running.started.spec.map(any::to_wire),
        }))
    }

    async fn platform(
        &self,
        request: Request<pb::ControllerPlatformRequest>,
    ) -> Answer<pb::ControllerPlatformResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let sandboxes = self.controller(&request.sandboxer)?;
        let id = known(&request.sandbox_id)?;
        let platform = sandboxes.platform(&ns, &id).await.map_err(refuse)?;
        Ok(Response::new(pb::ControllerPlatformResponse {
            platform: Some(wire::Platform {
                os: platform.os,
                architecture: platform.architecture,
                variant: platform.variant,
                ..wire::Platform::default()
            }),
        }))
    }

    async fn stop(&self, request: Request<pb::ControllerStopRequest>) -> Answer<pb::ControllerStopResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let sandboxes = self.controller(&request.sandboxer)?;
        let id = known(&request.sandbox_id)?;
        let limit = (request.timeout_secs > 0).then(|| Duration::from_secs(request.timeout_secs.into()));
        finish(async move { sandboxes.stop(&ns, &id, limit).await }).await?;
        Ok(Response::new(pb::ControllerStopResponse {}))
    }

    async fn wait(&self, request: Request<pb::ControllerWaitRequest>) -> Answer<pb::ControllerWaitResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let sandboxes = self.controller(&request.sandboxer)?;
        let id = known(&request.sandbox_id)?;
        let end = sandboxes.wait(&ns, &id).await.map_err(refuse)?;
        Ok(Response::new(pb::ControllerWaitResponse {
            exit_status: end.status,
            exited_at: Some(timestamp(Some(end.at))),
        }))
    }

    /// One that is not there has ended, as containerd answers.
    async fn status(&self, request: Request<pb::ControllerStatusRequest>) -> Answer<pb::ControllerStatusResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let sandboxes = self.controller(&request.sandboxer)?;
        let id = known(&request.sandbox_id)?;
        let view = match sandboxes.status(&ns, &id, request.verbose).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Response::new(pb::ControllerStatusResponse {
                    sandbox_id: request.sandbox_id,
                    created_at: Some(timestamp(None)),
                    exited_at: Some(timestamp(Some(SystemTime::now()))),
                    ..pb::ControllerStatusResponse::default()
                }));
            }
            view => view.map_err(refuse)?,
        };
        Ok(Response::new(pb::ControllerStatusResponse {
            sandbox_id: request.sandbox_id,
            pid: view.state.pid,
            state: view.state.state,
            info: view.state.info.into_iter().collect(),
            created_at: Some(timestamp(view.state.created_at)),
            exited_at: Some(timestamp(view.state.exited_at)),
            extra: view.state.extra.map(any::to_wire),
            address: view.address,
            version: view.version,
        }))
    }

    async fn shutdown(
        &self,
        request: Request<pb::ControllerShutdownRequest>,
    ) -> Answer<pb::ControllerShutdownResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let sandboxes = self.controller(&request.sandboxer)?;
        let id = known(&request.sandbox_id)?;
        finish(async move { sandboxes.shutdown(&ns, &id).await }).await?;
        Ok(Response::new(pb::ControllerShutdownResponse {}))
    }

    async fn metrics(&self, request: Request<pb::ControllerMetricsRequest>) -> Answer<pb::ControllerMetricsResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let sandboxes = self.controller(&request.sandboxer)?;
        let id = known(&request.sandbox_id)?;
        let metric = sandboxes.metrics(&ns, &id).await.map_err(refuse)?;
        Ok(Response::new(pb::ControllerMetricsResponse {
            metrics: metric.map(|metric| wire::Metric {
                timestamp: Some(timestamp(metric.at)),
                id: metric.id,
                data: metric.data.map(any::to_wire),
            }),
        }))
    }

    /// The record is the store's; what changed in it is for a controller to take note of, and a shim has no call for it.
    async fn update(&self, request: Request<pb::ControllerUpdateRequest>) -> Answer<pb::ControllerUpdateResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let sandboxes = self.controller(&request.sandboxer)?;
        let id = known(&request.sandbox_id)?;
        if request.sandbox.is_none() {
            return Err(refuse(Error::invalid("sandbox can not be nil")));
        }
        sandboxes.exists(&ns, &id).map_err(refuse)?;
        Ok(Response::new(pb::ControllerUpdateResponse {}))
    }
}
