//! What the engine shows, as messages.

use crate::{config, mounts, networks, time};
use gantry_core::Mount;
use gantry_core::container::Ended;
use gantry_core::health::{Health, Probe};
use gantry_core::lifecycle::{State, Status};
use gantry_engine::{AttachEndpoint, Engine, ExecView, Inspected, PathStat, Sample, Summary};
use gantry_proto::gantry::v1 as wire;
use gantry_task::attach::AttachClient;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub fn endpoint(endpoint: AttachEndpoint) -> wire::AttachEndpoint {
    wire::AttachEndpoint {
        socket: text(&endpoint.socket),
        container: endpoint.container,
        exec: endpoint.exec,
        tty: endpoint.tty,
    }
}

fn status(status: Status) -> wire::ContainerStatus {
    match status {
        Status::Created => wire::ContainerStatus::Created,
        Status::Running => wire::ContainerStatus::Running,
        Status::Paused => wire::ContainerStatus::Paused,
        Status::Restarting => wire::ContainerStatus::Restarting,
        Status::Removing => wire::ContainerStatus::Removing,
        Status::Exited => wire::ContainerStatus::Exited,
        Status::Dead => wire::ContainerStatus::Dead,
    }
}

/// A running container has no exit code yet, whatever its former run came to.
pub fn state(state: &State) -> wire::ContainerState {
    let ended: Option<&Ended> = state.ended();
    let reason = match state {
        State::Dead { reason, .. } => Some(reason.clone()),
        State::Created
        | State::Preparing { .. }
        | State::Prepared { .. }
        | State::Starting { .. }
        | State::Running { .. }
        | State::Pausing { .. }
        | State::Paused { .. }
        | State::Resuming { .. }
        | State::Clearing { .. }
        | State::Exited { .. }
        | State::Restarting { .. }
        | State::Removing { .. }
        | State::Removed => None,
    };
    wire::ContainerState {
        status: status(state.status()).into(),
        oom_killed: ended.is_some_and(|ended| ended.oom_killed),
        pid: if state.is_running() {
            state.pid().unwrap_or(0)
        } else {
            0
        },
        exit_code: ended.map_or(0, |ended| ended.code),
        error: reason
            .or_else(|| ended.map(|ended| ended.error.clone()))
            .unwrap_or_default(),
        health: None,
        started_at: state.started_at().map(time::out),
        finished_at: ended.map(|ended| time::out(ended.finished_at)),
    }
}

fn health(health: &Health) -> wire::Health {
    let probe = |probe: &Probe| wire::Probe {
        start: Some(time::out(probe.start)),
        end: Some(time::out(probe.end)),
        exit_code: probe.code,
        output: probe.output.clone(),
    };
    wire::Health {
        status: health.status.name().to_owned(),
        failing_streak: health.failing,
        log: health.log.iter().map(probe).collect(),
    }
}

pub fn summary(engine: &Engine, row: &Summary) -> wire::ContainerSummary {
    let record = &row.record;
    let networks = engine.networks_of(row);
    wire::ContainerSummary {
        id: record.id.to_string(),
        name: record.name.clone(),
        image: row.image(),
        image_id: record.image_id.to_string(),
        command: command(&record.args),
        created_at: Some(time::out(record.created_at)),
        state: Some(wire::ContainerState {
            health: row.health.map(|status| wire::Health {
                status: status.name().to_owned(),
                ..wire::Health::default()
            }),
            ..state(&row.state)
        }),
        labels: record.config.labels.clone().into_iter().collect(),
        network_mode: record.host.network_mode.to_string(),
        mounts: mounts::points_out(engine.points_of(row)),
        size_rw: row.size.map(|(own, _)| bytes(own)),
        size_root_fs: row.size.map(|(_, all)| bytes(all)),
        ports: networks::ports_out(&networks),
        networks: networks
            .attachments
            .iter()
            .map(|attachment| attachment.name.clone())
            .collect(),
    }
}

/// A command line as Docker shows it in a list: an argument with a blank in it stands in single quotes, the program never does.
fn command(args: &[String]) -> String {
    let one = |(at, arg): (usize, &String)| match arg.contains(' ') && at > 0 {
        true => format!("'{arg}'"),
        false => arg.clone(),
    };
    args.iter().enumerate().map(one).collect::<Vec<_>>().join(" ")
}

pub fn container(seen: Inspected) -> wire::Container {
    let record = &seen.record;
    let (path, args) = record
        .args
        .split_first()
        .map_or((String::new(), &[][..]), |(path, args)| (path.clone(), args));
    wire::Container {
        id: record.id.to_string(),
        name: record.name.clone(),
        created_at: Some(time::out(record.created_at)),
        path,
        args: args.to_vec(),
        state: Some(wire::ContainerState {
            health: seen.view.health.as_ref().map(health),
            oom_killed: seen.view.oom_killed(),
            ..state(&seen.view.state)
        }),
        image_id: record.image_id.to_string(),
        config: Some(config::container_out(&record.config)),
        host: Some(config::host_out(&record.host)),
        log_path: seen.log_path.as_deref().map(text).unwrap_or_default(),
        hostname_path: existing(seen.state_dir.join("hostname")),
        hosts_path: existing(seen.state_dir.join("hosts")),
        resolv_conf_path: existing(seen.state_dir.join("resolv.conf")),
        snapshotter: record.snapshotter.clone(),
        snapshot_key: record.snapshot_key.clone(),
        snapshotter_data: snapshotter_data(&seen.mounts),
        mounts: mounts::points_out(seen.points),
        exec_ids: seen.exec_ids,
        restart_count: i32::try_from(seen.view.tally.restarts).unwrap_or(i32::MAX),
        platform: "linux".to_owned(),
        attached: seen
            .attached
            .map(|state| state.clients.iter().map(attached).collect())
            .unwrap_or_default(),
        size_rw: seen.size.map(|(own, _)| bytes(own)),
        size_root_fs: seen.size.map(|(_, all)| bytes(all)),
        ports: networks::ports_out(&seen.networks),
        network: Some(networks::container_out(&seen.networks, record.id.as_str())),
    }
}

fn attached(client: &AttachClient) -> wire::AttachedClient {
    wire::AttachedClient {
        id: client.number.to_string(),
        spooled: client.waiting,
        holding_back: client.holds_back,
    }
}

/// The directories of the writable layer, under the names that docker inspect gives them.
fn snapshotter_data(mounts: &[Mount]) -> HashMap<String, String> {
    let mut data = HashMap::new();
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

pub fn exec(view: &ExecView) -> wire::Exec {
    let record = &view.record;
    wire::Exec {
        id: record.id.to_string(),
        container: record.container.to_string(),
        running: view.running(),
        exit_code: view.exit_code(),
        pid: view.pid(),
        cmd: record.cmd.clone(),
        user: record.user.clone(),
        tty: record.tty,
        privileged: record.privileged,
        open_stdin: record.open_stdin,
    }
}

pub fn path_stat(stat: PathStat) -> wire::PathStat {
    wire::PathStat {
        name: stat.name,
        size: stat.size,
        mode: stat.mode,
        modified_at: Some(time::out(stat.modified_at)),
        link_target: stat.link_target,
    }
}

pub fn sample(sample: Sample) -> wire::StatsSample {
    let mut message = wire::StatsSample {
        read: Some(time::out(sample.read)),
        id: sample.id,
        name: sample.name,
        stopped: sample.stats.is_none(),
        ..wire::StatsSample::default()
    };
    let Some(stats) = sample.stats else { return message };
    let moved = |op: &str| {
        stats
            .blkio
            .iter()
            .filter(|entry| entry.op == op)
            .map(|entry| entry.value)
            .sum()
    };
    message.cpu_total = stats.cpu.total;
    message.cpu_user = stats.cpu.user;
    message.cpu_kernel = stats.cpu.kernel;
    message.system_cpu = stats.cpu.system;
    message.online_cpus = stats.cpu.online_cpus;
    message.memory_usage = stats.memory.working_set();
    message.memory_limit = stats.memory.limit;
    message.memory_inactive_file = stats.memory.inactive_file;
    message.pids = stats.pids.current;
    message.pids_limit = stats.pids.limit.unwrap_or(0);
    message.block_read = moved("read");
    message.block_write = moved("write");
    message.network_rx = sample.networks.iter().map(|(_, traffic)| traffic.rx_bytes).sum();
    message.network_tx = sample.networks.iter().map(|(_, traffic)| traffic.tx_bytes).sum();
    message.throttled_periods = stats.cpu.throttled_periods;
    message.throttled_time = stats.cpu.throttled;
    message
}

fn existing(path: PathBuf) -> String {
    if path.exists() { text(&path) } else { String::new() }
}

pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub fn bytes(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn ended(code: i32, began: bool) -> Ended {
        let finished_at = UNIX_EPOCH + Duration::from_secs(9);
        let started_at = began.then_some(UNIX_EPOCH + Duration::from_secs(5));
        Ended {
            code,
            started_at,
            finished_at,
            oom_killed: false,
            memory_kills: 0,
            error: "why".into(),
        }
    }

    #[test]
    fn states_as_docker_shows_them() {
        let running = state(&State::Running {
            pid: 7,
            started_at: UNIX_EPOCH,
        });
        assert_eq!(
            (running.status(), running.pid, running.exit_code),
            (wire::ContainerStatus::Running, 7, 0)
        );
        assert!(running.finished_at.is_none());
        let exited = state(&State::Exited { ended: ended(3, true) });
        assert_eq!(
            (exited.status(), exited.pid, exited.exit_code),
            (wire::ContainerStatus::Exited, 0, 3)
        );
        assert_eq!(exited.started_at.map(|at| at.seconds), Some(5));
        let failed = state(&State::Exited {
            ended: ended(127, false),
        });
        assert_eq!(
            (failed.status(), failed.exit_code, failed.error.as_str()),
            (wire::ContainerStatus::Created, 127, "why")
        );
        let dead = state(&State::Dead {
            ended: Some(ended(0, true)),
            reason: "busy".into(),
        });
        assert_eq!(
            (dead.status(), dead.error.as_str()),
            (wire::ContainerStatus::Dead, "busy")
        );
    }

    #[test]
    fn commands_as_docker_shows_them() {
        let shown = |args: &[&str]| command(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        assert_eq!(shown(&["sh", "-c", "exit 7"]), "sh -c 'exit 7'");
        assert_eq!(
            shown(&["/my program", "a\tb", "", "it's so"]),
            "/my program a\tb  'it's so'"
        );
        assert_eq!(shown(&["sh"]), "sh");
        assert_eq!(shown(&[]), "");
    }

    #[test]
    fn layers_are_told() {
        let options = vec!["lowerdir=/a:/b".to_owned(), "upperdir=/u".into(), "workdir=/w".into()];
        let mount = Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options,
        };
        let data = snapshotter_data(&[mount]);
        assert_eq!((data["LowerDir"].as_str(), data["UpperDir"].as_str()), ("/a:/b", "/u"));
    }
}
