//! `volume` and what is under it, but `inspect`.

use std::sync::Arc;

use gantry_proto::gantry::v1 as pb;

use super::{Outcome, each};
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::format::{Format, natural, row, units};
use crate::template::{Struct, Value};
use crate::{opts, out};

const TITLES: &[(&str, &str)] = &[
    ("Driver", "DRIVER"),
    ("Name", "VOLUME NAME"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Scope", "SCOPE"),
    ("Size", "SIZE"),
];
const TABLE: &str = "{{.Driver}}\t{{.Name}}";

pub(crate) async fn create(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let by_flag = parsed.text("name").unwrap_or_default();
    if !by_flag.is_empty() && !parsed.args.is_empty() {
        return Err(Error::refused(
            "conflicting options: cannot specify a volume name through both --name and as a positional arg",
        ));
    }
    let name = if by_flag.is_empty() { parsed.arg(0) } else { by_flag };
    let request = pb::CreateVolumeRequest {
        name: name.to_owned(),
        driver: parsed.text("driver").unwrap_or_default().to_owned(),
        options: opts::pairs(parsed.all("opt")),
        labels: opts::pairs(parsed.all("label")),
    };
    let made = daemon.take(daemon.volumes().create(request).await)?;
    out::line(made.name);
    Ok(0)
}

pub(crate) async fn list(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let request = pb::ListVolumesRequest {
        filters: opts::filters(parsed.all("filter"))?,
    };
    let format = match parsed.on("quiet") {
        true if parsed.text("format").is_none() => Format::Raw("{{.Name}}".to_owned()),
        _ => Format::parse(parsed.text("format"), TABLE),
    };
    // A template that does not parse is said before the daemon is asked.
    format.render(TITLES, &[])?;
    let mut volumes = daemon.take(daemon.volumes().list(request).await)?.volumes;
    volumes.sort_by(|a, b| natural::compare(&a.name, &b.name));
    let rows: Vec<Value> = volumes.iter().map(volume).collect();
    out::put(format.render(TITLES, &rows)?);
    Ok(0)
}

pub(super) fn volume(it: &pb::Volume) -> Value {
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
    let (links, size) = match it.size {
        Some(bytes) => (it.containers.len().to_string(), units::human_size(bytes as f64, 4)),
        None => ("N/A".to_owned(), "N/A".to_owned()),
    };
    row(Struct::new("*formatter.volumeContext")
        .with("Name", &it.name)
        .with("Driver", &it.driver)
        .with("Scope", &it.scope)
        .with("Mountpoint", &it.mountpoint)
        .with("Labels", labels.join(","))
        .with("Links", links)
        .with("Size", size)
        .with("Availability", "N/A")
        .with("Group", "N/A")
        .with("Status", "N/A")
        .json_as("Label", None, Value::Method(Arc::new(label))))
}

pub(crate) async fn remove(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let force = parsed.on("force");
    each(&parsed.args, |volume| {
        let daemon = daemon.clone();
        async move {
            let request = pb::RemoveVolumeRequest { volume, force };
            daemon
                .take(daemon.volumes().remove(request).await)
                .map(|_| Outcome::Done)
        }
    })
    .await
}
