//! `images`, `history`, `tag`, `rmi`.

use chrono::Utc;
use gantry_proto::gantry::v1 as pb;

use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::format::{Format, ellipsis, row, short_id, time, units};
use crate::template::{Struct, Value};
use crate::{opts, out};

const TITLES: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];
const TABLE: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const DIGESTS: &str = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";

pub(crate) async fn list(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let mut given = parsed.all("filter").to_vec();
    given.extend(parsed.args.first().map(|reference| format!("reference={reference}")));
    let request = pb::ListImagesRequest {
        all: parsed.on("all"),
        filters: opts::filters(&given)?,
    };
    let digests = parsed.on("digests");
    let format = match parsed.on("quiet") {
        true if parsed.text("format").is_none() => Format::Raw("{{.ID}}".to_owned()),
        _ => Format::parse(parsed.text("format"), if digests { DIGESTS } else { TABLE }),
    };
    format.render(TITLES, &[])?;
    let mut images = daemon.take(daemon.images().list(request).await)?.images;
    images.sort_by_key(|it| std::cmp::Reverse(it.created_at.map(|stamp| (stamp.seconds, stamp.nanos))));
    let with_digest = digests || parsed.text("format").is_some_and(|format| format.contains(".Digest"));
    let rows: Vec<Value> = images
        .iter()
        .flat_map(|it| image(it, with_digest, !parsed.on("no-trunc")))
        .collect();
    out::put(format.render(TITLES, &rows)?);
    Ok(0)
}

/// Repository and the rest of "repo:tag" or "repo@digest".
fn split_name(name: &str) -> (String, String) {
    if let Some((repository, digest)) = name.split_once('@') {
        return (repository.to_owned(), digest.to_owned());
    }
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), tag.to_owned()),
        _ => (name.to_owned(), "<none>".to_owned()),
    }
}

/// A row per name of an image, or one without a name.
fn image(it: &pb::ImageSummary, digests: bool, short: bool) -> Vec<Value> {
    let by_digest: Vec<(String, String)> = it.repo_digests.iter().map(|name| split_name(name)).collect();
    let mut rows = Vec::new();
    for (repository, tag) in it.repo_tags.iter().map(|name| split_name(name)) {
        let own: Vec<&str> = by_digest
            .iter()
            .filter(|(of, _)| *of == repository)
            .map(|(_, digest)| digest.as_str())
            .collect();
        match own.as_slice() {
            [] => rows.push(line(it, &repository, &tag, "<none>", short)),
            own if digests => rows.extend(own.iter().map(|digest| line(it, &repository, &tag, digest, short))),
            own => rows.push(line(it, &repository, &tag, own[0], short)),
        }
    }
    if rows.is_empty() {
        match by_digest.first() {
            Some((repository, digest)) => rows.push(line(it, repository, "<none>", digest, short)),
            None => rows.push(line(it, "<none>", "<none>", "<none>", short)),
        }
    }
    rows
}

fn line(it: &pb::ImageSummary, repository: &str, tag: &str, digest: &str, short: bool) -> Value {
    let created = time::from_wire(it.created_at.as_ref()).unwrap_or_default();
    let size = units::human_size(it.size as f64, 3);
    let since = if created.timestamp() <= 0 {
        "N/A".to_owned()
    } else {
        units::ago(created, Utc::now())
    };
    let containers = if it.containers < 0 {
        "N/A".to_owned()
    } else {
        it.containers.to_string()
    };
    row(Struct::new("*formatter.imageContext")
        .with("ID", if short { short_id(&it.id) } else { it.id.clone() })
        .with("Repository", repository)
        .with("Tag", tag)
        .with("Digest", digest)
        .with("CreatedSince", since)
        .with("CreatedAt", time::go_string(created))
        .with("Size", &size)
        .with("Containers", containers)
        .with("VirtualSize", &size)
        .with("SharedSize", "N/A")
        .with("UniqueSize", "N/A"))
}

pub(crate) async fn tag(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let request = pb::TagImageRequest {
        image: parsed.arg(0).to_owned(),
        target: parsed.arg(1).to_owned(),
    };
    daemon.take(daemon.images().tag(request).await)?;
    Ok(0)
}

pub(crate) async fn remove(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let force = parsed.on("force");
    let mut errors = Vec::new();
    let mut fatal = false;
    for image in &parsed.args {
        let request = pb::RemoveImageRequest {
            image: image.clone(),
            force,
            no_prune: parsed.on("no-prune"),
        };
        match daemon.take(daemon.images().remove(request).await) {
            Ok(answer) => answer.removed.iter().for_each(|it| match &it.what {
                Some(pb::removed_image::What::Untagged(name)) => out::line(format!("Untagged: {name}")),
                Some(pb::removed_image::What::Deleted(id)) => out::line(format!("Deleted: {id}")),
                None => {}
            }),
            Err(err) => {
                fatal |= !err.is_not_found();
                errors.push(err.to_string());
            }
        }
    }
    if errors.is_empty() {
        return Ok(0);
    }
    // With --force what is gone already is as wanted.
    if force && !fatal {
        errors.iter().for_each(out::warn);
        return Ok(0);
    }
    Err(Error::Several(errors))
}

const HISTORY_TITLES: &[(&str, &str)] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];
const HISTORY: &str = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const HISTORY_EXACT: &str = "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";

pub(crate) async fn history(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let (human, short) = (parsed.on("human"), !parsed.on("no-trunc"));
    let format = match parsed.on("quiet") {
        true => Format::Raw("{{.ID}}".to_owned()),
        false => Format::parse(parsed.text("format"), if human { HISTORY } else { HISTORY_EXACT }),
    };
    format.render(HISTORY_TITLES, &[])?;
    let answer = daemon.take(
        daemon
            .images()
            .history(pb::HistoryRequest {
                image: parsed.arg(0).to_owned(),
            })
            .await,
    )?;
    let rows: Vec<Value> = answer.entries.iter().map(|entry| step(entry, human, short)).collect();
    out::put(format.render(HISTORY_TITLES, &rows)?);
    Ok(0)
}

fn step(entry: &pb::HistoryEntry, human: bool, short: bool) -> Value {
    let created = time::from_wire(entry.created_at.as_ref());
    let id = match entry.id.as_str() {
        "" => "<missing>".to_owned(),
        id if short => short_id(id),
        id => id.to_owned(),
    };
    let by = entry.created_by.replace('\t', " ");
    row(Struct::new("*formatter.historyContext")
        .with("ID", id)
        .with(
            "CreatedSince",
            created.map_or_else(|| "N/A".to_owned(), |time| units::ago(time, Utc::now())),
        )
        .with(
            "CreatedAt",
            created.map_or_else(String::new, |time| {
                time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
            }),
        )
        .with("CreatedBy", if short { ellipsis(&by, 45) } else { by })
        .with(
            "Size",
            if human {
                units::human_size(entry.size as f64, 3)
            } else {
                entry.size.to_string()
            },
        )
        .with("Comment", &entry.comment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_row_per_name() {
        let it = pb::ImageSummary {
            id: "sha256:0123456789abcdef".into(),
            repo_tags: vec!["busybox:latest".into(), "localhost:5000/b:1".into()],
            repo_digests: vec!["busybox@sha256:aa".into()],
            size: 4_261_502,
            ..pb::ImageSummary::default()
        };
        let format = Format::parse(Some("{{.Repository}} {{.Tag}} {{.Digest}} {{.ID}} {{.Size}}"), TABLE);
        let text = format.render(TITLES, &image(&it, false, true)).unwrap();
        assert_eq!(
            text,
            "busybox latest sha256:aa 0123456789ab 4.26MB\nlocalhost:5000/b 1 <none> 0123456789ab 4.26MB\n"
        );
        let bare = pb::ImageSummary {
            repo_tags: vec![],
            repo_digests: vec![],
            ..it
        };
        let text = format.render(TITLES, &image(&bare, false, true)).unwrap();
        assert_eq!(text, "<none> <none> <none> 0123456789ab 4.26MB\n");
        assert_eq!(
            split_name("localhost:5000/b"),
            ("localhost:5000/b".into(), "<none>".into())
        );
    }
}
