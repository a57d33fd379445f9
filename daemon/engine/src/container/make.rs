//! Making a container in the kernel: spec, host files, shim, and the shim's `create`.

use crate::context::Context;
use crate::gate::blocking;
use crate::keeper::{ended_by, ended_from};
use crate::{failpoint, files, host, network};
use gantry_core::container::{ContainerRecord, Ended};
use gantry_core::snapshot::SnapshotService;
use gantry_core::{ContainerId, Error, Mount, Result};
use gantry_task::{CreateTask, HeldStdin, LogConfig, Lookup, Reunion, Rotation, Shim, StartShim};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Makes it and answers the shim and the pid of the waiting process.
pub(crate) async fn make(context: &Arc<Context>, record: &Arc<ContainerRecord>) -> Result<(Shim, u32)> {
    let (worker, subject) = (context.clone(), record.clone());
    let (mounts, config) = blocking(move || outfit(&worker, &subject)).await?;
    failpoint!("engine::make::shim");
    let shim = context
        .shims
        .start(StartShim {
            namespace: context.namespace.clone(),
            id: record.id.clone(),
            spec: config,
        })
        .await?;
    network::hand_over(context, &record.id, &shim).await?;
    failpoint!("engine::make::create");
    let process = shim.create(task(context, record, mounts)?).await?;
    Ok((shim, process.pid))
}

/// What the shim is given: the mounts of the root filesystem and the text of `config.json`.
fn outfit(context: &Arc<Context>, record: &ContainerRecord) -> Result<(Vec<Mount>, Vec<u8>)> {
    let mounts = context
        .snapshots
        .mounts(&context.namespace, &record.snapshotter, &record.snapshot_key)?;
    failpoint!("engine::make::files");
    let entered = context.networks.enter(context, record)?;
    files::write(context, record, &entered.texts)?;
    // From here on an exit record is this run's.
    gantry_task::forget_exits(&context.state_dir(&record.id))?;
    let accounts = files::accounts(context, &mounts)?;
    let mut user = accounts.resolve(&record.config.user)?;
    user.additional_gids.extend(accounts.groups(&record.host.group_add)?);
    let around = host::Around {
        network: entered.network,
        binds: context.volumes.enter(context, record)?,
        shared: host::shared::find(context, record)?,
        linked: context.networks.linked(context, record)?,
    };
    let (spec, _) = host::spec(context, record, user, around)?;
    host::real_time::hand_out(context, record)?;
    let config = serde_json::to_vec(&spec).map_err(|error| Error::internal(format!("encode the OCI spec: {error}")))?;
    Ok((mounts, config))
}

fn task(context: &Context, record: &ContainerRecord, rootfs: Vec<Mount>) -> Result<CreateTask> {
    let stdin = match (record.config.open_stdin, record.config.stdin_once) {
        (false, _) => HeldStdin::No,
        (true, false) => HeldStdin::Yes,
        (true, true) => HeldStdin::Once,
    };
    Ok(CreateTask {
        rootfs,
        terminal: record.config.tty,
        runtime: context.runtime(&record.host.runtime)?,
        state_dir: context.state_dir(&record.id),
        log: log_config(context, record)?,
        stdin,
        ..CreateTask::default()
    })
}

/// What `local` does unless it is told otherwise, as Docker's.
const LOCAL: Rotation = Rotation::At {
    size: 20 << 20,
    files: 5,
    compress: true,
};

/// The file that a container's output is read back from; none if its driver keeps none.
pub(crate) fn log_path(context: &Context, record: &ContainerRecord) -> Option<PathBuf> {
    let dir = context.state_dir(&record.id);
    match context.log(record).0 {
        "json-file" => Some(dir.join(format!("{}-json.log", record.id))),
        // The format is our own affair, and the name says so.
        "local" => Some(dir.join("local.log")),
        _ => None,
    }
}

/// What the shim does with the output, from the container's log options or else the daemon's.
pub(crate) fn log_config(context: &Context, record: &ContainerRecord) -> Result<LogConfig> {
    let (driver, options) = context.log(record);
    match driver {
        "none" => {
            refuse_options(driver, options.keys(), &[])?;
            Ok(LogConfig::None)
        }
        "json-file" => {
            refuse_options(
                driver,
                options.keys(),
                &["max-size", "max-file", "compress", "labels", "tag"],
            )?;
            Ok(LogConfig::JsonFile {
                path: None,
                rotation: rotation(options, Rotation::default())?,
                attrs: attributes(record, options)?,
            })
        }
        "local" => {
            refuse_options(driver, options.keys(), &["max-size", "max-file", "compress"])?;
            Ok(LogConfig::JsonFile {
                path: log_path(context, record),
                rotation: rotation(options, LOCAL)?,
                attrs: BTreeMap::new(),
            })
        }
        other => Err(Error::new(
            gantry_core::ErrorKind::Unimplemented,
            format!("logger: no log driver named '{other}' is built; json-file, local and none are"),
        )),
    }
}

fn refuse_options<'a>(driver: &str, given: impl Iterator<Item = &'a String>, known: &[&str]) -> Result<()> {
    for name in given {
        if !known.contains(&name.as_str()) {
            return Err(Error::invalid(format!(
                "unknown log opt '{name}' for {driver} log driver"
            )));
        }
    }
    Ok(())
}

fn rotation(options: &BTreeMap<String, String>, preset: Rotation) -> Result<Rotation> {
    let bad = |name: &str, value: &str| Error::invalid(format!("invalid value for log opt {name}: \"{value}\""));
    let Rotation::At {
        mut size,
        mut files,
        mut compress,
    } = preset
    else {
        return Ok(Rotation::Never);
    };
    if let Some(text) = options.get("max-file") {
        files = text
            .parse()
            .ok()
            .filter(|files| *files > 0)
            .ok_or_else(|| bad("max-file", text))?;
    }
    if let Some(text) = options.get("compress") {
        compress = text.parse().map_err(|_| bad("compress", text))?;
    }
    match options.get("max-size").map(String::as_str) {
        Some("-1") => return Ok(Rotation::Never),
        Some(text) => {
            size = parse_size(text)
                .filter(|size| *size > 0)
                .ok_or_else(|| bad("max-size", text))?
        }
        None => {}
    }
    Ok(Rotation::At { size, files, compress })
}

/// The options that are in force for containers that name none: what the daemon was told, and what rotation adds to it.
pub(crate) fn log_options(driver: &str, told: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut options = told.clone();
    if driver == "json-file"
        && let Ok(Rotation::At { size, files, compress }) = rotation(told, Rotation::default())
    {
        let mib = 1 << 20;
        let size = if size % mib == 0 {
            format!("{}m", size / mib)
        } else {
            size.to_string()
        };
        for (name, value) in [
            ("max-size", size),
            ("max-file", files.to_string()),
            ("compress", compress.to_string()),
        ] {
            options.entry(name.to_owned()).or_insert(value);
        }
    }
    options
}

/// `10m`, `512k`, `1g`, `4096`: powers of 1024, as Docker reads them.
fn parse_size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Labels that go into every line, as the `labels` option names them, and the tag.
fn attributes(record: &ContainerRecord, options: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let mut attributes = BTreeMap::new();
    for name in options
        .get("labels")
        .map(String::as_str)
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
    {
        if let Some(value) = record.config.labels.get(name) {
            attributes.insert(name.to_owned(), value.clone());
        }
    }
    match options.get("tag") {
        Some(tag) if tag.contains("{{") => {
            return Err(Error::new(
                gantry_core::ErrorKind::Unimplemented,
                "templates in the log opt 'tag' are not built yet: give plain text",
            ));
        }
        Some(tag) if !tag.is_empty() => {
            attributes.insert("tag".to_owned(), tag.clone());
        }
        Some(_) | None => {}
    }
    Ok(attributes)
}

/// Looks for a container's shim.
pub(crate) async fn reunion(context: &Arc<Context>, id: &ContainerId) -> Result<Reunion> {
    let lookup = Lookup {
        namespace: context.namespace.clone(),
        id: id.clone(),
        state_dir: context.state_dir(id),
        mark: None,
    };
    Ok(context.shims.reconnect(&lookup).await?)
}

/// How a container whose shim went away has ended: what the shim wrote down last, else that nobody knows.
pub(crate) async fn outcome(context: &Arc<Context>, id: &ContainerId) -> Ended {
    match reunion(context, id).await {
        Ok(Reunion::Ended(exit)) => ended_from(exit),
        Ok(Reunion::Found { shim, .. }) => match shim.wait(None).await {
            Ok(exit) => ended_from(exit),
            Err(error) => ended_by(255, None, format!("its shim went away: {error}")),
        },
        Ok(Reunion::Idle { .. } | Reunion::Gone) => {
            ended_by(137, None, "its shim was killed, and the container with it")
        }
        Ok(Reunion::Unanswered(error)) => ended_by(255, None, format!("its shim does not answer: {error}")),
        Err(error) => ended_by(255, None, format!("its shim went away: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("10", Some(10)),
            ("1k", Some(1024)),
            ("20m", Some(20 << 20)),
            ("1GB", Some(1 << 30)),
            ("x", None),
            ("1q", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }
}
