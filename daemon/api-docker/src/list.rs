//! `GET /containers/json`.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::model::shown;
use crate::{ports, time};
use gantry_core::container::{BindMount, HostConfig};
use gantry_core::health::HealthStatus;
use gantry_core::lifecycle::{State, Status};
use gantry_core::volume::{LOCAL, MountKind, MountPoint};
use gantry_engine::{ListContainers, Summary};
use std::time::SystemTime;

pub async fn list(call: Call) -> Answer {
    let mut filters = call.filters()?;
    // No container here is a task, or isolated as Windows knows it.
    let tasks = filters.flag("is-task")?;
    filters.0.remove("is-task");
    filters.0.remove("isolation");
    if tasks == Some(true) {
        return answer::ok(&Vec::<shown::Summary>::new());
    }
    for (name, key) in [("before", "before"), ("since", "since")] {
        if let Some(value) = call.query.given(name).filter(|value| !value.is_empty()) {
            filters.0.entry(key.to_owned()).or_default().push(value.to_owned());
        }
    }
    let limit = call.query.number("limit")?.unwrap_or(0);
    let rows = call
        .engine()
        .list(ListContainers {
            all: call.query.flag("all"),
            limit: usize::try_from(limit).unwrap_or(0),
            filters,
            size: call.query.flag("size"),
        })
        .await?;
    Ok(answer::list(rows.into_iter().map(move |row| summary(&call, &row))))
}

pub fn summary(call: &Call, row: &Summary) -> shown::Summary {
    let record = &row.record;
    let networks = call.engine().networks_of(row);
    let (own, whole) = row.size.unwrap_or_default();
    shown::Summary {
        id: record.id.to_string(),
        names: std::iter::once(&record.name)
            .chain(&row.link_names)
            .map(|name| format!("/{name}"))
            .collect(),
        image: row.image(),
        image_id: record.image_id.to_string(),
        command: command(&record.args),
        created: time::unix(record.created_at).0,
        ports: ports::listed(&networks),
        size_rw: bytes(own),
        size_root_fs: bytes(whole),
        labels: record.config.labels.clone().into_iter().collect(),
        state: row.state.status().name(),
        status: status(&row.state, row.health),
        host_config: shown::SummaryHost {
            network_mode: record.host.network_mode.to_string(),
            annotations: Some(record.host.annotations.clone())
                .filter(|annotations| call.since(46) && !annotations.is_empty()),
        },
        network_settings: shown::SummaryNetworks {
            networks: ports::endpoints(call, &networks, &record.id),
        },
        mounts: mount_points(&call.engine().points_of(row), &record.host),
    }
}

pub fn bytes(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// An argument with a blank in it stands in single quotes, the program never does.
fn command(args: &[String]) -> String {
    let one = |(at, arg): (usize, &String)| match arg.contains(' ') && at > 0 {
        true => format!("'{arg}'"),
        false => arg.clone(),
    };
    args.iter().enumerate().map(one).collect::<Vec<_>>().join(" ")
}

/// In the words of `docker ps`.
fn status(state: &State, health: Option<HealthStatus>) -> String {
    let since = |time: Option<SystemTime>| {
        let passed = time.and_then(|time| SystemTime::now().duration_since(time).ok());
        time::human(passed.unwrap_or_default())
    };
    let ended = state.ended();
    let code = ended.map_or(0, |ended| ended.code);
    match state.status() {
        Status::Created => "Created".to_owned(),
        Status::Running => match health {
            None => format!("Up {}", since(state.started_at())),
            Some(HealthStatus::Starting) => format!("Up {} (health: starting)", since(state.started_at())),
            Some(health) => format!("Up {} ({})", since(state.started_at()), health.name()),
        },
        Status::Paused => format!("Up {} (Paused)", since(state.started_at())),
        Status::Restarting => format!(
            "Restarting ({code}) {} ago",
            since(ended.map(|ended| ended.finished_at))
        ),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Exited => format!("Exited ({code}) {} ago", since(ended.map(|ended| ended.finished_at))),
    }
}

pub fn mount_points(points: &[MountPoint], host: &HostConfig) -> Vec<shown::MountPoint> {
    let one = |point: &MountPoint| shown::MountPoint {
        kind: point.kind.name().to_owned(),
        name: point.name.clone(),
        source: point.source.clone(),
        destination: point.target.clone(),
        driver: match point.kind {
            MountKind::Volume => LOCAL.to_owned(),
            MountKind::Bind | MountKind::Tmpfs => String::new(),
        },
        mode: shown_mode(point, host),
        rw: !point.read_only,
        propagation: point.propagation.clone(),
    };
    points.iter().map(one).collect()
}

/// As it was written for `-v`. A volume that has a name is labelled as shared where nothing was written.
fn shown_mode(point: &MountPoint, host: &HostConfig) -> String {
    let bind = host.binds.iter().find(|bind| bind.target == point.target);
    let written = bind.map_or_else(|| point.mode.clone(), mode);
    let named = point.kind == MountKind::Volume && !point.anonymous;
    match written.is_empty() && named {
        true => "z".to_owned(),
        false => written,
    }
}

/// What stands behind the second colon of `-v`.
pub fn mode(bind: &BindMount) -> String {
    let written = || bind.mode.split(',').filter(|word| !word.is_empty());
    let lacks = |word: &&str| !word.is_empty() && written().all(|other| other != *word);
    let read_only = bind.read_only.then_some("ro").filter(lacks);
    let propagation = Some(bind.propagation.as_str()).filter(lacks);
    let words = read_only.into_iter().chain(written()).chain(propagation);
    words.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_core::container::Ended;
    use std::time::Duration;

    #[test]
    fn the_mode_of_a_bind_is_shown_as_it_was_written() {
        let shown = |read_only, propagation: &str, written: &str| {
            mode(&BindMount {
                read_only,
                propagation: propagation.to_owned(),
                mode: written.to_owned(),
                ..BindMount::default()
            })
        };
        assert_eq!(shown(false, "", "rw,z"), "rw,z");
        assert_eq!(shown(true, "rslave", "rslave,ro"), "rslave,ro");
        // Who asks in another way writes only the rest.
        assert_eq!(shown(true, "rslave", "z"), "ro,z,rslave");
        assert_eq!(shown(false, "", ""), "");
    }

    #[test]
    fn states_in_the_words_of_ps() {
        let ago = |seconds| SystemTime::now() - Duration::from_secs(seconds);
        let running = State::Running {
            pid: 1,
            started_at: ago(125),
        };
        assert_eq!(status(&running, None), "Up 2 minutes");
        assert_eq!(
            status(&running, Some(HealthStatus::Starting)),
            "Up 2 minutes (health: starting)"
        );
        assert_eq!(status(&running, Some(HealthStatus::Healthy)), "Up 2 minutes (healthy)");
        let paused = State::Paused {
            pid: 1,
            started_at: ago(3),
        };
        assert_eq!(status(&paused, None), "Up 3 seconds (Paused)");
        assert_eq!(status(&State::Created, None), "Created");
        let ended = Ended {
            code: 7,
            started_at: Some(ago(9)),
            finished_at: ago(5),
            oom_killed: false,
            memory_kills: 0,
            error: String::new(),
        };
        assert_eq!(status(&State::Exited { ended }, None), "Exited (7) 5 seconds ago");
    }
}
