//! The Containers service.

use crate::status::{Answer, answer, finish, refuse};
use crate::stream::{Outgoing, outgoing};
use crate::volumes::pruned_out;
use crate::{Door, check, config, copy, networks, time, view};
use gantry_core::{Error, Result};
use gantry_engine::{
    ChangeKind, CommitContainer, CreateContainer, ListContainers, LogLine, LogQuery, RemoveOptions, StopOptions,
    UpdateContainer, WaitFor,
};
use gantry_proto::gantry::v1 as wire;
use gantry_proto::gantry::v1::containers_server::Containers;
use tonic::{Request, Response, Streaming};

#[tonic::async_trait]
impl Containers for Door {
    async fn create(&self, request: Request<wire::CreateContainerRequest>) -> Answer<wire::CreateContainerResponse> {
        let request = create(request.into_inner()).map_err(refuse)?;
        let engine = self.engine.clone();
        finish(async move {
            let created = engine.create(request).await?;
            Ok(wire::CreateContainerResponse {
                id: created.id.to_string(),
                warnings: created.warnings,
            })
        })
        .await
    }

    async fn prepare(&self, request: Request<wire::PrepareContainerRequest>) -> Answer<wire::AttachEndpoint> {
        let name = request.into_inner().container;
        let engine = self.engine.clone();
        finish(async move { engine.prepare(&name).await.map(view::endpoint) }).await
    }

    async fn start(&self, request: Request<wire::StartContainerRequest>) -> Answer<wire::StartContainerResponse> {
        let name = request.into_inner().container;
        let engine = self.engine.clone();
        finish(async move {
            let started = engine.start(&name).await?;
            Ok(wire::StartContainerResponse {
                already_running: started.already_running,
                pid: started.pid,
            })
        })
        .await
    }

    async fn attach(&self, request: Request<wire::AttachContainerRequest>) -> Answer<wire::AttachEndpoint> {
        answer(
            self.engine
                .attach(&request.into_inner().container)
                .await
                .map(view::endpoint),
        )
    }

    async fn stop(&self, request: Request<wire::StopContainerRequest>) -> Answer<wire::StopContainerResponse> {
        let wire::StopContainerRequest {
            container,
            timeout,
            signal,
        } = request.into_inner();
        let engine = self.engine.clone();
        finish(async move {
            let ran = engine.stop(&container, StopOptions { timeout, signal }).await?;
            Ok(wire::StopContainerResponse { already_stopped: !ran })
        })
        .await
    }

    async fn kill(&self, request: Request<wire::KillContainerRequest>) -> Answer<wire::KillContainerResponse> {
        let wire::KillContainerRequest { container, signal } = request.into_inner();
        answer(
            self.engine
                .kill(&container, &signal)
                .await
                .map(|()| wire::KillContainerResponse {}),
        )
    }

    async fn restart(&self, request: Request<wire::RestartContainerRequest>) -> Answer<wire::RestartContainerResponse> {
        let wire::RestartContainerRequest {
            container,
            timeout,
            signal,
        } = request.into_inner();
        let engine = self.engine.clone();
        finish(async move {
            engine.restart(&container, StopOptions { timeout, signal }).await?;
            Ok(wire::RestartContainerResponse {})
        })
        .await
    }

    async fn pause(&self, request: Request<wire::PauseContainerRequest>) -> Answer<wire::PauseContainerResponse> {
        let name = request.into_inner().container;
        answer(self.engine.pause(&name).await.map(|()| wire::PauseContainerResponse {}))
    }

    async fn unpause(&self, request: Request<wire::UnpauseContainerRequest>) -> Answer<wire::UnpauseContainerResponse> {
        let name = request.into_inner().container;
        answer(
            self.engine
                .unpause(&name)
                .await
                .map(|()| wire::UnpauseContainerResponse {}),
        )
    }

    async fn remove(&self, request: Request<wire::RemoveContainerRequest>) -> Answer<wire::RemoveContainerResponse> {
        let wire::RemoveContainerRequest {
            container,
            force,
            volumes,
            link,
        } = request.into_inner();
        let engine = self.engine.clone();
        finish(async move {
            let done = match link {
                true => engine.unlink(&container).await,
                false => engine.remove(&container, RemoveOptions { force, volumes }).await,
            };
            done.map(|()| wire::RemoveContainerResponse {})
        })
        .await
    }

    async fn rename(&self, request: Request<wire::RenameContainerRequest>) -> Answer<wire::RenameContainerResponse> {
        let wire::RenameContainerRequest { container, name } = request.into_inner();
        let engine = self.engine.clone();
        finish(async move {
            engine
                .rename(&container, &name)
                .await
                .map(|()| wire::RenameContainerResponse {})
        })
        .await
    }

    async fn list(&self, request: Request<wire::ListContainersRequest>) -> Answer<wire::ListContainersResponse> {
        let wire::ListContainersRequest {
            all,
            limit,
            filters,
            size,
        } = request.into_inner();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let rows = self
            .engine
            .list(ListContainers {
                all,
                limit,
                filters: config::filters(filters),
                size,
            })
            .await;
        answer(rows.map(|rows| wire::ListContainersResponse {
            containers: rows.iter().map(|row| view::summary(&self.engine, row)).collect(),
        }))
    }

    async fn inspect(&self, request: Request<wire::InspectContainerRequest>) -> Answer<wire::InspectContainerResponse> {
        let wire::InspectContainerRequest { container, size } = request.into_inner();
        let seen = self.engine.inspect(&container, size).await;
        answer(seen.map(|seen| wire::InspectContainerResponse {
            container: Some(view::container(seen)),
        }))
    }

    async fn wait(&self, request: Request<wire::WaitContainerRequest>) -> Answer<wire::WaitContainerResponse> {
        let request = request.into_inner();
        let condition = wait_for(request.condition).map_err(refuse)?;
        let waited = self.engine.wait(&request.container, condition).await;
        answer(waited.map(|waited| wire::WaitContainerResponse {
            exit_code: waited.code,
            error: waited.error,
        }))
    }

    type LogsStream = Outgoing<wire::LogEntry>;

    async fn logs(&self, request: Request<wire::LogsRequest>) -> Answer<Self::LogsStream> {
        let request = request.into_inner();
        let container = request.container.clone();
        let query = log_query(request).map_err(refuse)?;
        let entries = self.engine.logs(&container, query).await.map_err(refuse)?;
        Ok(crate::stream::fallible(entries, log_line))
    }

    async fn top(&self, request: Request<wire::TopRequest>) -> Answer<wire::TopResponse> {
        let wire::TopRequest { container, ps_args } = request.into_inner();
        let ps_args = check::text("ps_args", ps_args).map_err(refuse)?;
        let table = self.engine.top(&container, &ps_args).await;
        answer(table.map(|table| wire::TopResponse {
            titles: table.titles,
            processes: table.rows.into_iter().map(|items| wire::StringList { items }).collect(),
        }))
    }

    type StatsStream = Outgoing<wire::StatsSample>;

    async fn stats(&self, request: Request<wire::StatsRequest>) -> Answer<Self::StatsStream> {
        let wire::StatsRequest { container, stream } = request.into_inner();
        let samples = self.engine.stats(&container, stream).await.map_err(refuse)?;
        Ok(outgoing(samples, view::sample))
    }

    async fn changes(&self, request: Request<wire::ChangesRequest>) -> Answer<wire::ChangesResponse> {
        let changes = self.engine.changes(&request.into_inner().container).await;
        let translate = |change: gantry_engine::Change| wire::Change {
            kind: change_kind(change.kind).into(),
            path: change.path.to_string_lossy().into_owned(),
        };
        answer(changes.map(|changes| wire::ChangesResponse {
            changes: changes.into_iter().map(translate).collect(),
        }))
    }

    async fn ports(&self, request: Request<wire::PortsRequest>) -> Answer<wire::PortsResponse> {
        let seen = self.engine.inspect(&request.into_inner().container, false).await;
        let only_published = |mut ports: Vec<wire::PortMapping>| {
            ports.retain(|port| port.host_port > 0);
            ports
        };
        answer(seen.map(|seen| wire::PortsResponse {
            ports: only_published(networks::ports_out(&seen.networks)),
        }))
    }

    async fn stat_path(&self, request: Request<wire::StatPathRequest>) -> Answer<wire::PathStat> {
        let wire::StatPathRequest { container, path } = request.into_inner();
        let path = check::filled("path", path).map_err(refuse)?;
        answer(self.engine.stat_path(&container, &path).await.map(view::path_stat))
    }

    type CopyFromStream = Outgoing<wire::CopyFromResponse>;

    async fn copy_from(&self, request: Request<wire::CopyFromRequest>) -> Answer<Self::CopyFromStream> {
        copy::from(&self.engine, request.into_inner())
            .await
            .map(Response::new)
            .map_err(refuse)
    }

    async fn copy_to(&self, request: Request<Streaming<wire::CopyToRequest>>) -> Answer<wire::CopyToResponse> {
        copy::to(self.engine.clone(), request.into_inner()).await
    }

    async fn update(&self, request: Request<wire::UpdateContainerRequest>) -> Answer<wire::UpdateContainerResponse> {
        let mut request = request.into_inner();
        let container = std::mem::take(&mut request.container);
        let update = update(request).map_err(refuse)?;
        let warnings = self.engine.update(&container, update).await;
        answer(warnings.map(|warnings| wire::UpdateContainerResponse { warnings }))
    }

    async fn commit(&self, request: Request<wire::CommitContainerRequest>) -> Answer<wire::CommitContainerResponse> {
        let request = request.into_inner();
        let id = self
            .engine
            .commit(CommitContainer {
                container: request.container,
                reference: request.reference,
                author: request.author,
                message: request.message,
                changes: request.changes,
                pause: request.pause,
                config: None,
            })
            .await;
        answer(id.map(|id| wire::CommitContainerResponse { id: id.to_string() }))
    }

    type ExportStream = Outgoing<wire::ExportChunk>;

    async fn export(&self, request: Request<wire::ExportContainerRequest>) -> Answer<Self::ExportStream> {
        let tar = self
            .engine
            .export(&request.into_inner().container)
            .await
            .map_err(refuse)?;
        Ok(crate::stream::fallible(tar, |bytes| wire::ExportChunk {
            tar: bytes.to_vec(),
        }))
    }

    async fn prune(&self, request: Request<wire::PruneContainersRequest>) -> Answer<wire::Pruned> {
        let filters = config::filters(request.into_inner().filters);
        answer(self.engine.prune_containers(filters).await.map(pruned_out))
    }
}

fn update(request: wire::UpdateContainerRequest) -> Result<UpdateContainer> {
    let amount = |field: &str, value: Option<i64>| value.map(|value| check::amount(field, value)).transpose();
    Ok(UpdateContainer {
        memory: amount("memory", request.memory)?,
        memory_swap: request
            .memory_swap
            .map(|value| check::at_least("memory_swap", value, -1))
            .transpose()?,
        memory_reservation: amount("memory_reservation", request.memory_reservation)?,
        nano_cpus: amount("nano_cpus", request.nano_cpus)?,
        cpu_shares: amount("cpu_shares", request.cpu_shares)?,
        cpu_period: amount("cpu_period", request.cpu_period)?,
        cpu_quota: request
            .cpu_quota
            .map(|value| check::at_least("cpu_quota", value, -1))
            .transpose()?,
        cpuset_cpus: request.cpuset_cpus,
        cpuset_mems: request.cpuset_mems,
        pids_limit: request.pids_limit,
        cpu_rt_period: amount("cpu_rt_period", request.cpu_rt_period)?,
        cpu_rt_runtime: amount("cpu_rt_runtime", request.cpu_rt_runtime)?,
        blkio_weight: request
            .blkio_weight
            .map(|weight| config::weight("blkio_weight", weight))
            .transpose()?,
        restart: request.restart.map(config::restart_in).transpose()?,
    })
}

fn create(request: wire::CreateContainerRequest) -> Result<CreateContainer> {
    Ok(CreateContainer {
        name: request.name,
        config: config::container_in(check::present("config", request.config)?)?,
        host: config::host_in(request.host.unwrap_or_default())?,
        networks: config::networks_in(request.networks)?,
    })
}

fn wait_for(condition: i32) -> Result<WaitFor> {
    match wire::WaitCondition::try_from(condition) {
        Ok(wire::WaitCondition::NotRunning) => Ok(WaitFor::NotRunning),
        Ok(wire::WaitCondition::NextExit) => Ok(WaitFor::NextExit),
        Ok(wire::WaitCondition::Removed) => Ok(WaitFor::Removed),
        Err(_) => Err(Error::invalid(format!("condition: {condition} is not known"))),
    }
}

fn log_query(request: wire::LogsRequest) -> Result<LogQuery> {
    Ok(LogQuery {
        since: time::into("since", request.since)?,
        until: time::into("until", request.until)?,
        tail: request.tail,
        stdout: request.stdout,
        stderr: request.stderr,
        follow: request.follow,
    })
}

fn log_line(entry: LogLine) -> wire::LogEntry {
    wire::LogEntry {
        time: Some(time::out(entry.time)),
        stream: entry.stream,
        line: entry.line.to_vec(),
    }
}

fn change_kind(kind: ChangeKind) -> wire::change::Kind {
    match kind {
        ChangeKind::Modified => wire::change::Kind::Modified,
        ChangeKind::Added => wire::change::Kind::Added,
        ChangeKind::Deleted => wire::change::Kind::Deleted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_lack_something_are_refused_by_name() {
        let error = create(wire::CreateContainerRequest::default()).unwrap_err();
        assert_eq!(error.message(), "config: missing");
        assert!(wait_for(7).unwrap_err().message().starts_with("condition: "));
        assert_eq!(wait_for(2).unwrap(), WaitFor::Removed);
        let since = Some(prost_types::Timestamp { seconds: 0, nanos: -1 });
        let error = log_query(wire::LogsRequest {
            since,
            ..Default::default()
        })
        .err()
        .unwrap();
        assert!(error.message().starts_with("since: "));
    }
}
