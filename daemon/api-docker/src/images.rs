//! Images: what there is, their names, their end.

use crate::answer::{self, Answer, Failure};
use crate::call::Call;
use crate::list::bytes;
use crate::model::shown;
use crate::time;
use gantry_core::ErrorKind;
use gantry_core::reference::Reference;
use gantry_engine::{HistoryEntry, Image, ImageSummary, ListImages, RemovedImage};
use gantry_image::Platform;
use gantry_image::config::{ImageConfig, RunConfig};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

/// Fields of a container's configuration that an image's does not have.
const CONTAINERS_OWN: &[&str] = &[
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "Domainname",
    "Hostname",
    "Image",
    "OpenStdin",
    "StdinOnce",
    "Tty",
];

pub async fn list(call: Call) -> Answer {
    let mut filters = call.filters()?;
    // Up to 1.40 a pattern came on its own.
    if let Some(pattern) = call
        .query
        .given("filter")
        .filter(|text| call.before(41) && !text.is_empty())
    {
        filters
            .0
            .entry("reference".to_owned())
            .or_default()
            .push(pattern.to_owned());
    }
    let rows = call
        .engine()
        .images(ListImages {
            all: call.query.flag("all"),
            filters,
        })
        .await?;
    let counted = call.since(51);
    let mut shown: Vec<shown::ImageRow> = rows.iter().map(|row| summary(&call, row, counted)).collect();
    if call.query.flag("shared-size") {
        let images: Vec<&Image> = rows.iter().map(|row| &row.image).collect();
        for (row, shared) in shown.iter_mut().zip(call.engine().shared_sizes(&images).await?) {
            row.shared_size = bytes(shared);
        }
    }
    answer::ok(&shown)
}

/// `counted`: with how many containers it has.
pub fn summary(call: &Call, row: &ImageSummary, counted: bool) -> shown::ImageRow {
    let image = &row.image;
    let names = |names: Vec<String>| match names.is_empty() && call.before(43) {
        true => None,
        false => Some(names),
    };
    let (tags, digests) = (image.repo_tags(), image.repo_digests());
    let nameless = tags.is_empty() && call.before(43);
    shown::ImageRow {
        containers: match counted {
            true => i64::try_from(row.containers).unwrap_or(i64::MAX),
            false => -1,
        },
        created: time::seconds_of(image.config.created.as_deref()),
        id: image.id.to_string(),
        labels: Some(image.config.config.labels.clone()).filter(|labels| !labels.is_empty()),
        parent_id: parent(image),
        repo_digests: match nameless && digests.is_empty() {
            true => Some(vec!["<none>@<none>".to_owned()]),
            false => names(digests),
        },
        repo_tags: match nameless {
            true => Some(vec!["<none>:<none>".to_owned()]),
            false => names(tags),
        },
        shared_size: -1,
        size: bytes(image.size),
        virtual_size: call.before(44).then(|| bytes(image.size)),
    }
}

/// docker-compose 1 asks at the newest version there is and then wants a field of old: without it, it makes no container anew.
fn old_compose(call: &Call) -> bool {
    let agent = call.headers.get(http::header::USER_AGENT);
    agent.is_some_and(|agent| agent.as_bytes().starts_with(b"docker-compose/1."))
}

/// The image that the path names, which must be for the platform that the query names, if it names one, as JSON.
async fn find(call: &Call) -> Result<Image, Failure> {
    let image = call.engine().image(call.name()).await?;
    let text = call.query.text("platform");
    if !text.is_empty() {
        let odd = |error: serde_json::Error| Failure::bad(format!("failed to parse platform: {error}"));
        let wanted: Platform = serde_json::from_str(text).map_err(odd)?;
        for_platform(call.name(), &image, wanted)?;
    }
    Ok(image)
}

/// Whether an image is for a platform.
pub fn for_platform(name: &str, image: &Image, wanted: Platform) -> Result<(), Failure> {
    let config = &image.config;
    let own = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
    let wanted = wanted.normalised();
    let same = (&own.os, &own.architecture) == (&wanted.os, &wanted.architecture)
        && (wanted.variant.is_none() || wanted.variant == own.variant);
    match same {
        true => Ok(()),
        false => Err(Failure::new(
            StatusCode::NOT_FOUND,
            format!(
                "image with reference {name} was found but its platform ({own}) does not match the specified platform ({wanted})"
            ),
        )),
    }
}

fn parent(image: &Image) -> String {
    image.parent.as_ref().map(ToString::to_string).unwrap_or_default()
}

pub async fn inspect(call: Call) -> Answer {
    let image = find(&call).await?;
    answer::ok(&shown_image(&call, &image))
}

fn shown_image(call: &Call, image: &Image) -> shown::Image {
    let config: &ImageConfig = &image.config;
    let snapshotter = call.engine().config().snapshotter.clone();
    let layers: Vec<String> = config.rootfs.diff_ids.iter().map(ToString::to_string).collect();
    shown::Image {
        id: image.id.to_string(),
        repo_tags: image.repo_tags(),
        repo_digests: image.repo_digests(),
        parent: parent(image),
        comment: comment(config),
        created: created(config.created.as_deref()),
        container: call.before(45).then_some(""),
        container_config: (call.before(45) || old_compose(call)).then(shown::Config::default),
        docker_version: more(config, "docker_version"),
        author: config.author.clone(),
        config: shown_config(call, run_config(&config.config)),
        architecture: config.architecture.clone(),
        variant: config.variant.clone().unwrap_or_default(),
        os: config.os.clone(),
        size: bytes(image.size),
        virtual_size: call.before(44).then(|| bytes(image.size)),
        graph_driver: shown::GraphDriver {
            data: shown::Table::new(),
            name: snapshotter,
        },
        root_fs: shown::RootFs { kind: "layers", layers },
        metadata: shown::ImageMetadata {
            last_tag_time: time::nano_or_zero(image.last_tagged_at()),
        },
        descriptor: call.since(48).then(|| {
            let target = &image.target;
            json!({
                "mediaType": target.media_type,
                "digest": target.digest.to_string(),
                "size": target.size,
            })
        }),
    }
}

/// Since 1.50 without what only containers have.
fn shown_config(call: &Call, config: shown::Config) -> Option<Value> {
    let mut value = serde_json::to_value(config).ok()?;
    if call.since(50)
        && let Some(fields) = value.as_object_mut()
    {
        fields.retain(|name, _| !CONTAINERS_OWN.contains(&name.as_str()));
    }
    Some(value)
}

fn created(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty())
        .map_or_else(|| time::ZERO.to_owned(), str::to_owned)
}

fn more(config: &ImageConfig, key: &str) -> String {
    let value = config.other.get(key).and_then(|value| value.as_str());
    value.unwrap_or_default().to_owned()
}

/// The image's own, else that of its newest step.
fn comment(config: &ImageConfig) -> String {
    match more(config, "comment") {
        own if !own.is_empty() => own,
        _ => config
            .history
            .last()
            .map(|line| line.comment.clone())
            .unwrap_or_default(),
    }
}

fn run_config(config: &RunConfig) -> shown::Config {
    let set = |names: &shown::Table<serde_json::Value>| {
        names
            .keys()
            .map(|name| (name.clone(), shown::Nothing {}))
            .collect::<shown::Table<_>>()
    };
    let some = |list: &[String]| Some(list.to_vec()).filter(|list| !list.is_empty());
    shown::Config {
        user: config.user.clone(),
        exposed_ports: set(&config.exposed_ports),
        env: some(&config.env),
        cmd: config.cmd.clone(),
        healthcheck: config
            .healthcheck
            .as_ref()
            .and_then(|health| serde_json::to_value(health).ok()),
        volumes: Some(set(&config.volumes)).filter(|volumes| !volumes.is_empty()),
        working_dir: config.working_dir.clone(),
        entrypoint: config.entrypoint.clone(),
        on_build: some(&config.on_build),
        labels: Some(config.labels.clone()).filter(|labels| !labels.is_empty()),
        stop_signal: config.stop_signal.clone(),
        stop_timeout: config.stop_timeout,
        shell: config.shell.clone(),
        ..shown::Config::default()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    comment: String,
    created: i64,
    created_by: String,
    id: String,
    size: i64,
    tags: Option<Vec<String>>,
}

pub async fn history(call: Call) -> Answer {
    find(&call).await?;
    let entries = call.engine().image_history(call.name()).await?;
    let line = |entry: HistoryEntry| Line {
        comment: entry.comment,
        created: time::seconds_of(entry.created.as_deref()),
        created_by: entry.created_by,
        id: entry.id.map_or_else(|| "<missing>".to_owned(), |id| id.to_string()),
        size: bytes(entry.size),
        tags: Some(entry.tags).filter(|tags| !tags.is_empty()),
    };
    answer::ok(&entries.into_iter().map(line).collect::<Vec<_>>())
}

pub async fn tag(call: Call) -> Answer {
    let (repository, tag) = (call.query.text("repo"), call.query.text("tag"));
    let mut target = Reference::parse(repository)?;
    if target.digest().is_some() {
        return Err(Failure::bad("refusing to create a tag with a digest reference"));
    }
    if target.familiar_name() == "sha256" {
        return Err(Failure::bad(
            "refusing to create an ambiguous tag using digest algorithm as name",
        ));
    }
    if !tag.is_empty() {
        target = target.with_tag(tag).map_err(|_| Failure::bad("invalid tag format"))?;
    }
    call.engine().image_tag(call.name(), &target.to_string()).await?;
    Ok(answer::bare(StatusCode::CREATED))
}

pub async fn remove(call: Call) -> Answer {
    if call.name().trim().is_empty() {
        return Err(Failure::bad("image name cannot be blank"));
    }
    let removed = call
        .engine()
        .image_remove(call.name(), call.query.flag("force"))
        .await?;
    answer::ok(&removed.into_iter().map(taken).collect::<Vec<_>>())
}

fn taken(removed: RemovedImage) -> serde_json::Value {
    match removed {
        RemovedImage::Untagged(name) => json!({ "Untagged": name }),
        RemovedImage::Deleted(id) => json!({ "Deleted": id }),
    }
}

/// Only Docker's own registry can be searched, and not by us.
pub async fn search(call: Call) -> Answer {
    call.filters()?;
    Err(Failure::from(gantry_core::Error::new(
        ErrorKind::Unimplemented,
        "searching a registry is not built yet",
    )))
}

pub async fn prune(call: Call) -> Answer {
    let filters = call.filters()?;
    let (removed, space) = call.engine().prune_images(filters).await?;
    let gone: Vec<_> = removed.into_iter().map(taken).collect();
    answer::ok(&json!({ "ImagesDeleted": Some(gone).filter(|gone| !gone.is_empty()), "SpaceReclaimed": space }))
}
