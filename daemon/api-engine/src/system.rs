//! The System service.

use crate::status::{Answer, answer, refuse};
use crate::stream::{Outgoing, fallible};
use crate::{Door, config, host, time, view};
use gantry_core::spec::{Cgroup, HostFacts};
use gantry_engine::{Config, Engine, Event, ImageSummary, ImageUsage, Info, Measure, Usage};
use gantry_proto::gantry::v1 as wire;
use gantry_proto::gantry::v1::system_server::System;
use std::time::SystemTime;
use tonic::Request;

#[tonic::async_trait]
impl System for Door {
    async fn version(&self, _: Request<wire::VersionRequest>) -> Answer<wire::VersionResponse> {
        let config = self.engine.config();
        answer(Ok(wire::VersionResponse {
            version: config.version.clone(),
            git_commit: config.git_commit.clone(),
            os: "linux".to_owned(),
            arch: self.engine.facts().arch.clone(),
            kernel_version: host::kernel(),
            rust_version: env!("GANTRY_RUST_VERSION").to_owned(),
        }))
    }

    async fn info(&self, _: Request<wire::InfoRequest>) -> Answer<wire::InfoResponse> {
        answer(self.engine.info().await.map(|found| info(&self.engine, found)))
    }

    type EventsStream = Outgoing<wire::Event>;

    async fn events(&self, request: Request<wire::EventsRequest>) -> Answer<Self::EventsStream> {
        let request = request.into_inner();
        let since = time::into("since", request.since).map_err(refuse)?;
        let until = time::into("until", request.until).map_err(refuse)?;
        let events = self
            .engine
            .events(since, until, config::filters(request.filters))
            .await
            .map_err(refuse)?;
        Ok(fallible(events, event))
    }

    async fn disk_usage(&self, _: Request<wire::DiskUsageRequest>) -> Answer<wire::DiskUsageResponse> {
        let found = self.engine.usage(Measure::ALL).await;
        answer(found.map(|found| usage(&self.engine, found)))
    }
}

fn usage(engine: &Engine, found: Usage) -> wire::DiskUsageResponse {
    let image = |one: ImageUsage| wire::ImageUsage {
        shared: view::bytes(one.shared),
        image: Some(crate::images::summary(&ImageSummary {
            image: one.image,
            containers: one.containers,
        })),
    };
    wire::DiskUsageResponse {
        layers: view::bytes(found.layers),
        images: found.images.into_iter().map(image).collect(),
        containers: found.containers.iter().map(|row| view::summary(engine, row)).collect(),
        volumes: found.volumes.into_iter().map(crate::volumes::volume_out).collect(),
    }
}

fn event((event, missed): (Event, u64)) -> wire::Event {
    wire::Event {
        r#type: event.kind,
        action: event.action,
        actor_id: event.actor,
        attributes: event.attributes.into_iter().collect(),
        time: Some(time::out(event.time)),
        sequence: event.sequence,
        missed,
    }
}

fn info(engine: &Engine, found: Info) -> wire::InfoResponse {
    let (config, facts) = (engine.config(), engine.facts());
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let default_runtime = if config.default_runtime.is_empty() {
        "io.containerd.gantry.v1"
    } else {
        &config.default_runtime
    };
    wire::InfoResponse {
        id: host::daemon_id(&config.data_root),
        name: host::name(),
        containers: count(found.running + found.paused + found.stopped),
        containers_running: count(found.running),
        containers_paused: count(found.paused),
        containers_stopped: count(found.stopped),
        images: count(found.images),
        server_version: config.version.clone(),
        snapshotter: found.snapshotter,
        snapshotter_status: found
            .snapshotter_status
            .into_iter()
            .map(|(key, value)| wire::KeyValue { key, value })
            .collect(),
        logging_driver: config.log.driver.clone(),
        logging_options: found.logging_options.into_iter().collect(),
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: cgroup_version(facts.cgroup).to_owned(),
        runtimes: found.runtimes,
        default_runtime: default_runtime.to_owned(),
        security_options: security_options(config, facts),
        kernel_version: host::kernel(),
        operating_system: found.operating_system,
        os_type: "linux".to_owned(),
        architecture: facts.arch.clone(),
        cpus: facts.cpus,
        memory: view::bytes(found.memory),
        data_root: view::text(&config.data_root),
        exec_root: view::text(&config.exec_root),
        debug: config.debug,
        live_restore: config.live_restore,
        warnings: found.warnings,
        labels: config.labels.clone(),
        insecure_registries: config.insecure_registries.clone(),
        log_drivers: vec!["json-file".to_owned(), "local".to_owned(), "none".to_owned()],
        system_time: Some(time::out(SystemTime::now())),
    }
}

fn cgroup_version(cgroup: Cgroup) -> &'static str {
    match cgroup {
        Cgroup::V1 | Cgroup::Hybrid => "1",
        Cgroup::V2 => "2",
    }
}

/// In Docker's form: `name=...[,key=value]`.
fn security_options(config: &Config, facts: &HostFacts) -> Vec<String> {
    let profile = match config.seccomp_profile.as_str() {
        "" | "builtin" => "builtin",
        "unconfined" => "unconfined",
        _ => "custom",
    };
    let mut options = Vec::new();
    if facts.apparmor_profile.is_some() {
        options.push("name=apparmor".to_owned());
    }
    if facts.seccomp {
        options.push(format!("name=seccomp,profile={profile}"));
    }
    if facts.cgroup == Cgroup::V2 {
        options.push("name=cgroupns".to_owned());
    }
    if config.no_new_privileges {
        options.push("name=no-new-privileges".to_owned());
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_keep_their_numbers() {
        let mut told = Event::new(
            "container",
            "start",
            "abc",
            [("name".to_owned(), "web".to_owned())].into(),
        );
        told.sequence = 9;
        let message = event((told, 2));
        assert_eq!(
            (
                message.r#type.as_str(),
                message.action.as_str(),
                message.sequence,
                message.missed
            ),
            ("container", "start", 9, 2)
        );
        assert_eq!(message.attributes["name"], "web");
    }
}
