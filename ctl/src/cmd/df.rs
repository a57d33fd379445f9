//! `system df`.

use chrono::Utc;
use gantry_proto::gantry::v1 as pb;

use super::volume;
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::format::{Format, ellipsis, row, short_id, time, units};
use crate::out;
use crate::template::{Struct, Value};

const TITLES: &[(&str, &str)] = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];
const TABLE: &str = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";

pub(crate) async fn run(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let verbose = parsed.on("verbose");
    if verbose && parsed.text("format").is_some_and(|format| !format.is_empty()) {
        return Err(Error::refused("the verbose and the format options conflict"));
    }
    let format = Format::parse(parsed.text("format"), TABLE);
    format.render(TITLES, &[])?;
    let usage = daemon.take(daemon.system().disk_usage(pb::DiskUsageRequest {}).await)?;
    match verbose {
        true => out::put(in_full(&usage)?),
        false => out::put(format.render(TITLES, &summary(&usage))?),
    }
    Ok(0)
}

fn human(bytes: i64) -> String {
    units::human_size(bytes as f64, 4)
}

/// A kind of thing: how many, how many in use, bytes, bytes that can be had back.
fn line(kind: &str, total: usize, active: usize, size: i64, free: i64) -> Value {
    let share = match size {
        0 => String::new(),
        size => format!(" ({}%)", i128::from(free) * 100 / i128::from(size)),
    };
    row(Struct::new("*formatter.diskUsageContext")
        .with("Type", kind)
        .with("TotalCount", total.to_string())
        .with("Active", active.to_string())
        .with("Size", human(size))
        .with("Reclaimable", format!("{}{share}", human(free))))
}

fn summary(usage: &pb::DiskUsageResponse) -> Vec<Value> {
    let used = |it: &&pb::ImageUsage| it.image.as_ref().is_some_and(|image| image.containers > 0);
    let size = |it: &pb::ImageUsage| it.image.as_ref().map_or(0, |image| image.size);
    let in_use: i64 = usage.images.iter().filter(used).map(|it| size(it) - it.shared).sum();
    let shared = usage.images.iter().filter(used).map(|it| it.shared).max().unwrap_or(0);
    let images = line(
        "Images",
        usage.images.len(),
        usage.images.iter().filter(used).count(),
        usage.layers,
        (usage.layers - in_use - shared).max(0),
    );
    let runs = |it: &&pb::ContainerSummary| is_active(it);
    let written = |it: &pb::ContainerSummary| it.size_rw.unwrap_or(0);
    let all: i64 = usage.containers.iter().map(written).sum();
    let active: i64 = usage.containers.iter().filter(runs).map(written).sum();
    let containers = line(
        "Containers",
        usage.containers.len(),
        usage.containers.iter().filter(runs).count(),
        all,
        all - active,
    );
    let taken = |it: &&pb::Volume| !it.containers.is_empty();
    let size = |it: &pb::Volume| it.size.unwrap_or(0);
    let all: i64 = usage.volumes.iter().map(size).sum();
    let active: i64 = usage.volumes.iter().filter(taken).map(size).sum();
    let volumes = line(
        "Local Volumes",
        usage.volumes.len(),
        usage.volumes.iter().filter(taken).count(),
        all,
        all - active,
    );
    vec![images, containers, volumes, line("Build Cache", 0, 0, 0, 0)]
}

fn is_active(it: &pb::ContainerSummary) -> bool {
    use pb::ContainerStatus::{Paused, Restarting, Running};
    let status = it.state.as_ref().map(pb::ContainerState::status);
    matches!(status, Some(Running | Paused | Restarting))
}

fn in_full(usage: &pb::DiskUsageResponse) -> Result<String> {
    let mut text = "Images space usage:\n\n".to_owned();
    let images: Vec<Value> = usage.images.iter().map(image).collect();
    text += &section(
        &[
            "Repository",
            "Tag",
            "ID",
            "CreatedSince",
            "Size",
            "SharedSize",
            "UniqueSize",
            "Containers",
        ],
        &[
            "REPOSITORY",
            "TAG",
            "IMAGE ID",
            "CREATED",
            "SIZE",
            "SHARED SIZE",
            "UNIQUE SIZE",
            "CONTAINERS",
        ],
        &images,
    )?;
    text += "\nContainers space usage:\n\n";
    let containers: Vec<Value> = usage.containers.iter().map(container).collect();
    text += &section(
        &["ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Names"],
        &[
            "CONTAINER ID",
            "IMAGE",
            "COMMAND",
            "LOCAL VOLUMES",
            "SIZE",
            "CREATED",
            "NAMES",
        ],
        &containers,
    )?;
    text += "\nLocal Volumes space usage:\n\n";
    let volumes: Vec<Value> = usage.volumes.iter().map(volume::volume).collect();
    text += &section(&["Name", "Links", "Size"], &["VOLUME NAME", "LINKS", "SIZE"], &volumes)?;
    text += "\nBuild cache usage: 0B\n";
    Ok(text)
}

fn section(fields: &[&str], titles: &[&str], rows: &[Value]) -> Result<String> {
    let cells: Vec<String> = fields.iter().map(|field| format!("{{{{.{field}}}}}")).collect();
    let titles: Vec<(&str, &str)> = fields.iter().copied().zip(titles.iter().copied()).collect();
    Format::Table(cells.join("\t")).render(&titles, rows)
}

fn image(it: &pb::ImageUsage) -> Value {
    let image = it.image.clone().unwrap_or_default();
    let (repository, tag) = image
        .repo_tags
        .first()
        .and_then(|name| name.rsplit_once(':'))
        .unwrap_or(("<none>", "<none>"));
    let created = time::from_wire(image.created_at.as_ref());
    row(Struct::new("*formatter.imageContext")
        .with("Repository", repository)
        .with("Tag", tag)
        .with("ID", short_id(&image.id))
        .with(
            "CreatedSince",
            created.map_or_else(|| "N/A".to_owned(), |at| units::ago(at, Utc::now())),
        )
        .with("Size", human(image.size))
        .with("SharedSize", human(it.shared))
        .with("UniqueSize", human(image.size - it.shared))
        .with("Containers", image.containers.to_string()))
}

fn container(it: &pb::ContainerSummary) -> Value {
    let created = time::from_wire(it.created_at.as_ref()).unwrap_or_default();
    let volumes = it.mounts.iter().filter(|mount| mount.r#type == "volume").count();
    row(Struct::new("*formatter.containerContext")
        .with("ID", short_id(&it.id))
        .with("Image", &it.image)
        .with("Command", format!("\"{}\"", ellipsis(&it.command, 20)))
        .with("LocalVolumes", volumes.to_string())
        .with("Size", human(it.size_rw.unwrap_or(0)))
        .with("RunningFor", units::ago(created, Utc::now()))
        .with("Names", &it.name))
}
