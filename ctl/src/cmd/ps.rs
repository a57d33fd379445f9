//! `ps`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use gantry_proto::gantry::v1 as pb;

use super::ports;
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::Result;
use crate::format::{Format, ellipsis, row, short_id, time, units};
use crate::template::{Struct, Value};
use crate::{opts, out};

const TITLES: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
];
const TABLE: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

pub(crate) async fn run(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let size = parsed.on("size");
    let latest = parsed.on("latest");
    let last = if latest { 1 } else { parsed.int("last").unwrap_or(-1) };
    let request = pb::ListContainersRequest {
        all: parsed.on("all"),
        limit: u32::try_from(last).unwrap_or(0),
        filters: opts::filters(parsed.all("filter"))?,
        size: size || parsed.text("format").is_some_and(|format| format.contains(".Size")),
    };
    let table = if size {
        format!("{TABLE}\t{{{{.Size}}}}")
    } else {
        TABLE.to_owned()
    };
    let format = match parsed.on("quiet") {
        true if parsed.text("format").is_none() => Format::Raw("{{.ID}}".to_owned()),
        _ => Format::parse(parsed.text("format"), &table),
    };
    // A template that does not parse is said before the daemon is asked.
    format.render(TITLES, &[])?;
    let answer = daemon.take(daemon.containers().list(request).await)?;
    let now = Utc::now();
    let rows: Vec<Value> = answer
        .containers
        .iter()
        .map(|it| container(it, !parsed.on("no-trunc"), now))
        .collect();
    out::put(format.render(TITLES, &rows)?);
    Ok(0)
}

fn container(it: &pb::ContainerSummary, short: bool, now: DateTime<Utc>) -> Value {
    let created = time::from_wire(it.created_at.as_ref()).unwrap_or_default();
    let state = it.state.clone().unwrap_or_default();
    let command = if short {
        ellipsis(&it.command, 20)
    } else {
        it.command.clone()
    };
    let mounts: Vec<String> = it.mounts.iter().map(|mount| named(mount, short)).collect();
    let mut labels: Vec<String> = it
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    labels.sort_unstable();
    let by_name = it.labels.clone();
    let label = move |args: &[Value]| match args {
        [Value::Str(name)] => Ok(Value::from(by_name.get(name).map_or("", String::as_str))),
        _ => Err(format!("wrong number of args for Label: want 1 got {}", args.len())),
    };
    let image = match it.image.as_str() {
        "" => "<no image>".to_owned(),
        image if short && image.starts_with("sha256:") => short_id(image),
        image => image.to_owned(),
    };
    let volumes = it.mounts.iter().filter(|mount| mount.r#type == "volume").count();
    let id = if short { short_id(&it.id) } else { it.id.clone() };
    row(Struct::new("*formatter.ContainerContext")
        .with("ID", id)
        .with("Names", &it.name)
        .with("Image", image)
        .with("Command", quoted(&command))
        .with("CreatedAt", time::go_string(created))
        .with("RunningFor", units::ago(created, now))
        .with("Ports", ports::column(open(it, state.status())))
        .with("State", state_word(state.status()))
        .with("Status", status(&state, now))
        .with("Size", size(it))
        .with("Labels", labels.join(","))
        .with("Mounts", mounts.join(","))
        .with("LocalVolumes", volumes.to_string())
        .with("Networks", it.networks.join(","))
        .json_as("Label", None, Value::Method(Arc::new(label))))
}

/// A Go string literal, as strconv.Quote writes it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for it in text.chars() {
        match it {
            '"' | '\\' => out.extend(['\\', it]),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            other if other.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(other))),
            other if other.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(other))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn named(mount: &pb::MountPoint, short: bool) -> String {
    let name = if mount.name.is_empty() {
        &mount.source
    } else {
        &mount.name
    };
    if short { ellipsis(name, 15) } else { name.clone() }
}

fn size(it: &pb::ContainerSummary) -> String {
    let human = |bytes: i64| units::human_size(bytes as f64, 3);
    let own = human(it.size_rw.unwrap_or(0));
    match it.size_root_fs.filter(|bytes| *bytes > 0) {
        Some(all) => format!("{own} (virtual {})", human(all)),
        None => own,
    }
}

/// The ports that can be reached: none of a container that is not started or has no ports of its own.
fn open(it: &pb::ContainerSummary, status: pb::ContainerStatus) -> &[pb::PortMapping] {
    use pb::ContainerStatus::{Paused, Restarting, Running};
    let started = matches!(status, Running | Paused | Restarting);
    if started && it.network_mode != "host" {
        &it.ports
    } else {
        &[]
    }
}

/// Docker's word for a state.
pub(super) fn state_word(status: pb::ContainerStatus) -> &'static str {
    match status {
        pb::ContainerStatus::Created | pb::ContainerStatus::Unspecified => "created",
        pb::ContainerStatus::Running => "running",
        pb::ContainerStatus::Paused => "paused",
        pb::ContainerStatus::Restarting => "restarting",
        pb::ContainerStatus::Removing => "removing",
        pb::ContainerStatus::Exited => "exited",
        pb::ContainerStatus::Dead => "dead",
    }
}

/// " (healthy)", " (health: starting)", or nothing.
fn health(state: &pb::ContainerState) -> String {
    match state.health.as_ref().map(|health| health.status.as_str()) {
        None | Some("") => String::new(),
        Some("starting") => " (health: starting)".to_owned(),
        Some(status) => format!(" ({status})"),
    }
}

/// "Up 2 minutes", "Exited (0) 3 hours ago".
fn status(state: &pb::ContainerState, now: DateTime<Utc>) -> String {
    let since = |stamp: &Option<prost_types::Timestamp>| {
        let time = time::from_wire(stamp.as_ref()).unwrap_or(now);
        units::human_duration((now - time).num_seconds())
    };
    match state.status() {
        pb::ContainerStatus::Created | pb::ContainerStatus::Unspecified => "Created".to_owned(),
        pb::ContainerStatus::Running => format!("Up {}{}", since(&state.started_at), health(state)),
        pb::ContainerStatus::Paused => format!("Up {} (Paused)", since(&state.started_at)),
        pb::ContainerStatus::Restarting => {
            format!("Restarting ({}) {} ago", state.exit_code, since(&state.finished_at))
        }
        pb::ContainerStatus::Removing => "Removal In Progress".to_owned(),
        pb::ContainerStatus::Exited => format!("Exited ({}) {} ago", state.exit_code, since(&state.finished_at)),
        pb::ContainerStatus::Dead => "Dead".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> (pb::ContainerSummary, DateTime<Utc>) {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let at = |back: i64| {
            Some(prost_types::Timestamp {
                seconds: 1_700_000_000 - back,
                nanos: 0,
            })
        };
        let state = pb::ContainerState {
            status: pb::ContainerStatus::Exited.into(),
            exit_code: 7,
            finished_at: at(60),
            ..pb::ContainerState::default()
        };
        let it = pb::ContainerSummary {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            image: "busybox".into(),
            command: "sh -c 'echo \"hello\" world'".into(),
            created_at: at(7200),
            state: Some(state),
            labels: [("tier".to_owned(), "web".to_owned())].into(),
            networks: vec!["back".into(), "front".into()],
            ..pb::ContainerSummary::default()
        };
        (it, now)
    }

    #[test]
    fn the_table_is_docker_s() {
        let (it, now) = summary();
        let text = Format::parse(None, TABLE)
            .render(TITLES, &[container(&it, true, now)])
            .unwrap();
        assert_eq!(
            text,
            "CONTAINER ID   IMAGE     COMMAND                    CREATED       STATUS                          PORTS     NAMES\n\
             0123456789ab   busybox   \"sh -c 'echo \\\"hello\\\"…\"   2 hours ago   Exited (7) About a minute ago             web\n"
        );
    }

    #[test]
    fn literals_are_go_s() {
        assert_eq!(quoted("a'b\"\\"), r#""a'b\"\\""#);
        assert_eq!(
            quoted("\x07\x08\t\n\x0b\x0c\r\x1b\x7f\u{85}é"),
            r#""\a\b\t\n\v\f\r\x1b\x7f\u0085é""#
        );
    }

    #[test]
    fn rows_speak_templates() {
        let (it, now) = summary();
        let show = |source: &str| {
            Format::parse(Some(source), TABLE)
                .render(TITLES, &[container(&it, false, now)])
                .unwrap()
        };
        assert_eq!(
            show("{{.ID}} {{.State}} {{.Label \"tier\"}}|{{.Label \"no\"}}"),
            "0123456789abcdef exited web|\n"
        );
        assert_eq!(show("{{.Networks}}"), "back,front\n");
        assert!(show("json").starts_with("{\"Command\":\"\\\"sh -c"));
    }

    #[test]
    fn ports_are_those_of_started_containers() {
        let (mut it, now) = summary();
        it.ports = vec![pb::PortMapping {
            host_ip: "0.0.0.0".into(),
            host_port: 8080,
            container_port: 80,
            protocol: "tcp".into(),
        }];
        let shown = |it: &pb::ContainerSummary| {
            Format::parse(Some("{{.Ports}}"), TABLE)
                .render(TITLES, &[container(it, true, now)])
                .unwrap()
        };
        assert_eq!(shown(&it), "\n");
        if let Some(state) = &mut it.state {
            state.set_status(pb::ContainerStatus::Running);
        }
        assert_eq!(shown(&it), "0.0.0.0:8080->80/tcp\n");
        it.network_mode = "host".into();
        assert_eq!(shown(&it), "\n");
    }
}
