//! `prune` of containers, images, volumes, and of everything at once.

use gantry_proto::gantry::v1 as pb;

use super::network;
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::format::units;
use crate::{opts, out};

/// The longest answer to a question that is read.
const ANSWER: usize = 256;

pub(crate) async fn containers(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    ask(
        &parsed,
        "container",
        "WARNING! This will remove all stopped containers.",
    )?;
    let (text, space) = of_containers(&daemon, opts::filters(parsed.all("filter"))?).await?;
    out::put(format!("{text}{}", total(space)));
    Ok(0)
}

pub(crate) async fn images(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let warning = match parsed.on("all") {
        true => "WARNING! This will remove all images without at least one container associated to them.",
        false => "WARNING! This will remove all dangling images.",
    };
    ask(&parsed, "image", warning)?;
    let filters = opts::filters(parsed.all("filter"))?;
    let (text, space) = of_images(&daemon, filters, parsed.on("all")).await?;
    out::put(format!("{text}{}", total(space)));
    Ok(0)
}

pub(crate) async fn volumes(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let warning = match parsed.on("all") {
        true => "WARNING! This will remove all local volumes not used by at least one container.",
        false => "WARNING! This will remove anonymous local volumes not used by at least one container.",
    };
    ask(&parsed, "volume", warning)?;
    let filters = opts::filters(parsed.all("filter"))?;
    let (text, space) = of_volumes(&daemon, filters, parsed.on("all")).await?;
    out::put(format!("{text}{}", total(space)));
    Ok(0)
}

pub(crate) async fn system(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let filters = opts::filters(parsed.all("filter"))?;
    let with_volumes = parsed.on("volumes");
    let until = filters
        .as_ref()
        .is_some_and(|filters| filters.by_key.contains_key("until"));
    if with_volumes && until {
        return Err(Error::refused(
            "The \"until\" filter is not supported with \"--volumes\"",
        ));
    }
    let mut warning =
        "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n"
            .to_owned();
    if with_volumes {
        warning.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    warning.push_str(match parsed.on("all") {
        true => "  - all images without at least one container associated to them\n",
        false => "  - all dangling images\n",
    });
    ask(&parsed, "system", &warning)?;
    let mut space = 0;
    let (text, freed) = of_containers(&daemon, filters.clone()).await?;
    out::put(text);
    space += freed;
    let request = pb::PruneNetworksRequest {
        filters: filters.clone(),
    };
    let removed = daemon.take(daemon.networks().prune(request).await)?.removed;
    out::put(network::pruned(&removed));
    if with_volumes {
        let (text, freed) = of_volumes(&daemon, filters.clone(), false).await?;
        out::put(text);
        space += freed;
    }
    let (text, freed) = of_images(&daemon, filters, parsed.on("all")).await?;
    out::put(text);
    out::put(total(space + freed));
    Ok(0)
}

async fn of_containers(daemon: &Daemon, filters: Option<pb::Filters>) -> Result<(String, i64)> {
    let request = pb::PruneContainersRequest { filters };
    let pruned = daemon.take(daemon.containers().prune(request).await)?;
    Ok((named("Containers", &pruned.removed), pruned.space))
}

async fn of_volumes(daemon: &Daemon, filters: Option<pb::Filters>, all: bool) -> Result<(String, i64)> {
    let request = pb::PruneVolumesRequest {
        filters: with(filters, "all", all.then_some("true")),
    };
    let pruned = daemon.take(daemon.volumes().prune(request).await)?;
    Ok((named("Volumes", &pruned.removed), pruned.space))
}

async fn of_images(daemon: &Daemon, filters: Option<pb::Filters>, all: bool) -> Result<(String, i64)> {
    use pb::removed_image::What::{Deleted, Untagged};
    let request = pb::PruneImagesRequest {
        filters: with(filters, "dangling", Some(if all { "false" } else { "true" })),
    };
    let pruned = daemon.take(daemon.images().prune(request).await)?;
    let line = |removed: &pb::RemovedImage| match &removed.what {
        Some(Untagged(name)) => Some(format!("untagged: {name}")),
        Some(Deleted(id)) => Some(format!("deleted: {id}")),
        None => None,
    };
    let lines: Vec<String> = pruned.removed.iter().filter_map(line).collect();
    Ok((named("Images", &lines), pruned.space))
}

/// The filters and one more, unless the user gave that one.
fn with(filters: Option<pb::Filters>, key: &str, value: Option<&str>) -> Option<pb::Filters> {
    let Some(value) = value else { return filters };
    let mut filters = filters.unwrap_or_default();
    let items = vec![value.to_owned()];
    filters.by_key.entry(key.to_owned()).or_insert(pb::StringList { items });
    Some(filters)
}

fn named(what: &str, removed: &[String]) -> String {
    if removed.is_empty() {
        return String::new();
    }
    let names: String = removed.iter().map(|name| format!("{name}\n")).collect();
    format!("Deleted {what}:\n{names}\n")
}

fn total(space: i64) -> String {
    format!("Total reclaimed space: {}\n", units::human_size(space as f64, 4))
}

fn ask(parsed: &Parsed, what: &str, warning: &str) -> Result<()> {
    match parsed.on("force") || confirmed(warning)? {
        true => Ok(()),
        false => Err(Error::refused(format!("{what} prune has been cancelled"))),
    }
}

/// Asks on the terminal; only "y" means yes.
pub(super) fn confirmed(warning: &str) -> Result<bool> {
    out::put(format!("{warning}\nAre you sure you want to continue? [y/N] "));
    let mut answer = Vec::new();
    let mut byte = [0];
    while answer.len() < ANSWER && out::read_stdin(&mut byte).map_err(Error::io("read the answer"))? == 1 {
        if byte[0] == b'\n' {
            break;
        }
        answer.push(byte[0]);
    }
    Ok(is_yes(&answer))
}

fn is_yes(answer: &[u8]) -> bool {
    answer.trim_ascii().eq_ignore_ascii_case(b"y")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_named_and_only_y_is_yes() {
        assert_eq!(
            named("Volumes", &["a".into(), "b".into()]),
            "Deleted Volumes:\na\nb\n\n"
        );
        assert_eq!(named("Volumes", &[]), "");
        assert_eq!(total(0), "Total reclaimed space: 0B\n");
        assert!(is_yes(b"y") && is_yes(b" Y\r"));
        assert!(!is_yes(b"") && !is_yes(b"yes") && !is_yes(b"n"));
    }

    #[test]
    fn what_the_user_says_stays() {
        let given = opts::filters(&["dangling=true".into()]).unwrap();
        let both = with(given, "dangling", Some("false")).unwrap();
        assert_eq!(both.by_key["dangling"].items, ["true"]);
        assert_eq!(with(None, "all", None), None);
    }
}
