//! The extras service: wire in, answer out.

use crate::{
    failure::{Kind, failed},
    io::lock,
    oom,
    shim::Shim,
    task::timestamp,
};
use async_trait::async_trait;
use gantry_proto_shim::{
    Extras,
    extras::{
        AttachClient, AttachStateResponse, ContainerRequest, DescriptorsResponse, DropDescriptorsRequest,
        EndpointResponse, ExitsResponse, InfoResponse, LogStateResponse, MemoryKillsRequest, MemoryKillsResponse,
        ProcessExit, ProcessRequest,
    },
    protobuf::{MessageField, well_known_types::empty::Empty},
    ttrpc::{self, r#async::TtrpcContext},
};
use std::sync::Arc;

/// Serves `gantry.shim.v1.Extras`.
pub struct ExtrasService(pub Arc<Shim>);

type Answer<T> = ttrpc::Result<T>;

#[async_trait]
impl Extras for ExtrasService {
    async fn info(&self, _: &TtrpcContext, _: Empty) -> Answer<InfoResponse> {
        Ok(InfoResponse {
            version: 1,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            containers: self.0.containers(),
            features: ["attach", "descriptors", "json-file", "memory-kills", "rotation"]
                .map(str::to_owned)
                .into(),
            ..Default::default()
        })
    }

    async fn endpoint(&self, _: &TtrpcContext, _: Empty) -> Answer<EndpointResponse> {
        Ok(EndpointResponse {
            attach_socket: self.0.config.attach_socket.to_string_lossy().into_owned(),
            ..Default::default()
        })
    }

    async fn attach_state(&self, _: &TtrpcContext, request: ProcessRequest) -> Answer<AttachStateResponse> {
        let process = self.0.process(&request.id, &request.exec_id)?;
        let rows = process.hub.clients();
        let held_back = rows.iter().any(|(.., full)| *full);
        let row = |(number, waiting, spooled, sent, holds_back)| AttachClient {
            number,
            waiting,
            spooled,
            sent,
            holds_back,
            ..Default::default()
        };
        Ok(AttachStateResponse {
            clients: rows.into_iter().map(row).collect(),
            held_back,
            ..Default::default()
        })
    }

    async fn exits(&self, _: &TtrpcContext, request: ContainerRequest) -> Answer<ExitsResponse> {
        let container = self.0.container(&request.id)?;
        let mut processes: Vec<_> = lock(&container.execs).values().cloned().collect();
        processes.push(container.init.clone());
        let exit = |process: &Arc<crate::shim::Process>| {
            let exited = process.exited()?;
            Some(ProcessExit {
                id: container.id.clone(),
                exec_id: process.exec.clone().unwrap_or_default(),
                pid: process.life().pid,
                status: exited.status,
                exited_at: MessageField::some(timestamp(exited.at)),
                oom_killed: exited.oom_killed,
                memory_kills: exited.memory_kills,
                ..Default::default()
            })
        };
        Ok(ExitsResponse {
            exits: processes.iter().filter_map(exit).collect(),
            ..Default::default()
        })
    }

    async fn reopen_log(&self, _: &TtrpcContext, request: ContainerRequest) -> Answer<Empty> {
        if let Some(log) = &self.0.container(&request.id)?.log {
            lock(log).reopen().map_err(failed(
                Kind::Runtime,
                format_args!("reopening the log of container {}", request.id),
            ))?;
        }
        Ok(Empty::new())
    }

    async fn log_state(&self, _: &TtrpcContext, request: ContainerRequest) -> Answer<LogStateResponse> {
        let container = self.0.container(&request.id)?;
        let Some(log) = &container.log else {
            return Ok(LogStateResponse {
                driver: "none".to_owned(),
                ..Default::default()
            });
        };
        let log = lock(log);
        let path = log.path.to_string_lossy().into_owned();
        Ok(LogStateResponse {
            driver: "json-file".to_owned(),
            path,
            lost: log.lost_ever,
            ..Default::default()
        })
    }

    async fn descriptors(&self, _: &TtrpcContext, _: Empty) -> Answer<DescriptorsResponse> {
        let names = self.0.with_kept(|kept| kept.keys().cloned().collect());
        Ok(DescriptorsResponse {
            names,
            ..Default::default()
        })
    }

    async fn drop_descriptors(&self, _: &TtrpcContext, request: DropDescriptorsRequest) -> Answer<Empty> {
        self.0.with_kept(|kept| {
            for name in &request.names {
                kept.remove(name);
            }
        });
        Ok(Empty::new())
    }

    async fn memory_kills(&self, _: &TtrpcContext, request: MemoryKillsRequest) -> Answer<MemoryKillsResponse> {
        let container = self.0.container(&request.id)?;
        Ok(MemoryKillsResponse {
            kills: oom::beyond(&container, request.known).await,
            ..Default::default()
        })
    }
}
