//! `GET /containers/{name}/json`.

mod host;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::list::{bytes, mount_points};
use crate::model::shown;
use crate::{ports, time};
use gantry_core::Mount;
use gantry_core::container::{ContainerConfig, ContainerRecord, HealthCheck, NetworkMode};
use gantry_core::health::{Health, Probe};
use gantry_core::lifecycle::{State, Status};
use gantry_engine::Inspected;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub async fn inspect(call: Call) -> Answer {
    let seen = call.engine().inspect(call.name(), call.query.flag("size")).await?;
    answer::ok(&container(&call, &seen))
}

fn container(call: &Call, seen: &Inspected) -> shown::Container {
    let record: &ContainerRecord = &seen.record;
    let (path, args) = match record.args.split_first() {
        Some((path, args)) => (path.clone(), args.to_vec()),
        None => (String::new(), Vec::new()),
    };
    let (config, facts) = (call.engine().config(), call.engine().facts());
    shown::Container {
        id: record.id.to_string(),
        created: time::nano(record.created_at),
        path,
        args,
        state: shown::State {
            health: seen.view.health.as_ref().map(health),
            oom_killed: seen.view.oom_killed(),
            ..state(&seen.view.state)
        },
        image: record.image_id.to_string(),
        resolv_conf_path: existing(seen.state_dir.join("resolv.conf")),
        hostname_path: existing(seen.state_dir.join("hostname")),
        hosts_path: existing(seen.state_dir.join("hosts")),
        log_path: seen.log_path.as_deref().map(text).unwrap_or_default(),
        name: format!("/{}", record.name),
        restart_count: seen.view.tally.restarts.into(),
        driver: record.snapshotter.clone(),
        platform: "linux",
        mount_label: "",
        process_label: "",
        app_armor_profile: facts.apparmor_profile.clone().unwrap_or_default(),
        exec_ids: Some(seen.exec_ids.clone()).filter(|ids| !ids.is_empty()),
        host_config: host::shown(call, &record.name, &record.host, config, facts),
        graph_driver: shown::GraphDriver {
            data: layers(&seen.mounts),
            name: record.snapshotter.clone(),
        },
        size_rw: seen.size.map(|(own, _)| bytes(own)),
        size_root_fs: seen.size.map(|(_, whole)| bytes(whole)),
        mounts: mount_points(&seen.points, &record.host),
        config: self::config(call, record),
        network_settings: ports::settings(call, &seen.networks, &record.id),
    }
}

fn state(state: &State) -> shown::State {
    let ended = state.ended();
    let status = state.status();
    let reason = match state {
        State::Dead { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    let running = state.is_running();
    // One that never ran has never finished, whatever became of its start.
    let finished = ended.filter(|ended| ended.started_at.is_some());
    shown::State {
        status: status.name(),
        running: running || status == Status::Restarting,
        paused: status == Status::Paused,
        restarting: status == Status::Restarting,
        oom_killed: ended.is_some_and(|ended| ended.oom_killed),
        dead: status == Status::Dead,
        pid: state.pid().filter(|_| running).unwrap_or(0),
        exit_code: ended.map_or(0, |ended| ended.code),
        error: reason
            .or_else(|| ended.map(|ended| ended.error.clone()))
            .unwrap_or_default(),
        started_at: time::nano_or_zero(state.started_at()),
        finished_at: time::nano_or_zero(finished.map(|ended| ended.finished_at)),
        health: None,
    }
}

fn health(health: &Health) -> Value {
    let probe = |probe: &Probe| {
        json!({
            "Start": time::nano(probe.start), "End": time::nano(probe.end), "ExitCode": probe.code, "Output": probe.output,
        })
    };
    json!({
        "Status": health.status.name(), "FailingStreak": health.failing,
        "Log": health.log.iter().map(probe).collect::<Vec<_>>(),
    })
}

/// A check in Docker's words; what has its default is left out.
fn check(check: &HealthCheck) -> Value {
    let mut shown = serde_json::Map::new();
    if !check.test.is_empty() {
        shown.insert("Test".to_owned(), json!(check.test));
    }
    for (name, value) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
        ("Retries", check.retries),
    ] {
        if value != 0 {
            shown.insert(name.to_owned(), value.into());
        }
    }
    if check.exit_on_unhealthy == Some(true) {
        shown.insert("ExitOnUnhealthy".to_owned(), true.into());
    }
    Value::Object(shown)
}

/// Nothing for an empty list.
pub fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

fn set(list: &[String]) -> shown::Table<shown::Nothing> {
    list.iter().map(|name| (name.clone(), shown::Nothing {})).collect()
}

fn config(call: &Call, record: &ContainerRecord) -> shown::Config {
    let config: &ContainerConfig = &record.config;
    let hostname = match (config.hostname.as_str(), &record.host.network_mode) {
        ("", NetworkMode::Host) => crate::system::host_name(),
        ("", NetworkMode::Container(_)) => String::new(),
        ("", _) => record.id.short().to_owned(),
        (name, _) => name.to_owned(),
    };
    let mut exposed = set(&config.exposed_ports);
    for binding in &record.host.port_bindings {
        exposed.insert(binding.container.to_string(), shown::Nothing {});
    }
    shown::Config {
        hostname,
        domainname: config.domainname.clone(),
        user: config.user.clone(),
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        exposed_ports: exposed,
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        env: Some(config.env.clone()),
        cmd: some(config.cmd.clone()),
        healthcheck: config.healthcheck.as_ref().map(check),
        image: config.image.clone(),
        volumes: Some(set(&config.volumes)).filter(|volumes| !volumes.is_empty()),
        working_dir: config.working_dir.clone(),
        entrypoint: config.entrypoint.clone(),
        mac_address: match (call.before(44), record.host.mac_address) {
            (true, Some(mac)) => mac.to_string(),
            _ => String::new(),
        },
        on_build: some(config.on_build.clone()),
        labels: Some(config.labels.clone().into_iter().collect()),
        stop_signal: config.stop_signal.clone(),
        stop_timeout: config.stop_timeout.map(i64::from),
        shell: config.shell.clone(),
    }
}

/// The directories of the writable layer.
fn layers(mounts: &[Mount]) -> shown::Table<String> {
    let mut data = shown::Table::new();
    for mount in mounts {
        if mount.kind == "bind" {
            data.insert("Dir".to_owned(), mount.source.clone());
        }
        for (option, name) in [
            ("lowerdir=", "LowerDir"),
            ("upperdir=", "UpperDir"),
            ("workdir=", "WorkDir"),
        ] {
            if let Some(value) = mount.options.iter().find_map(|text| text.strip_prefix(option)) {
                data.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    data
}

fn existing(path: PathBuf) -> String {
    if path.exists() { text(&path) } else { String::new() }
}

pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
