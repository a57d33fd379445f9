//! Images as messages.

use crate::time;
use crate::view::bytes;
use gantry_engine::{HistoryEntry, Image, ImageSummary, PullEvent};
use gantry_image::config::{ImageConfig, RunConfig};
use gantry_proto::gantry::v1 as wire;

pub fn summary(row: &ImageSummary) -> wire::ImageSummary {
    let image = &row.image;
    wire::ImageSummary {
        id: image.id.to_string(),
        repo_tags: image.repo_tags(),
        repo_digests: image.repo_digests(),
        created_at: time::from_text(image.config.created.as_deref()),
        size: bytes(image.size),
        labels: image.config.config.labels.clone().into_iter().collect(),
        containers: i64::try_from(row.containers).unwrap_or(i64::MAX),
    }
}

pub fn image(image: &Image, snapshotter: &str) -> wire::Image {
    let config = &*image.config;
    wire::Image {
        id: image.id.to_string(),
        repo_tags: image.repo_tags(),
        repo_digests: image.repo_digests(),
        created_at: time::from_text(config.created.as_deref()),
        size: bytes(image.size),
        comment: comment(config),
        author: config.author.clone(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone().unwrap_or_default(),
        os: config.os.clone(),
        config: Some(run_config(&config.config)),
        layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
        snapshotter: snapshotter.to_owned(),
        last_tagged_at: image.last_tagged_at().map(time::out),
        target_digest: image.target.digest.to_string(),
        target_media_type: image.target.media_type.clone(),
        parent: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// The image's own, else that of its newest step.
fn comment(config: &ImageConfig) -> String {
    let own = config
        .other
        .get("comment")
        .and_then(|value| value.as_str())
        .map(str::to_owned);
    own.or_else(|| config.history.last().map(|line| line.comment.clone()))
        .unwrap_or_default()
}

fn run_config(config: &RunConfig) -> wire::ContainerConfig {
    wire::ContainerConfig {
        healthcheck: config.healthcheck.clone().map(|check| wire::HealthCheck {
            test: check.test,
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
            exit_on_unhealthy: check.exit_on_unhealthy.then_some(true),
        }),
        user: config.user.clone(),
        env: config.env.clone(),
        cmd: config.cmd.clone().unwrap_or_default(),
        entrypoint: config.entrypoint.clone().map(|items| wire::StringList { items }),
        labels: config.labels.clone().into_iter().collect(),
        working_dir: config.working_dir.clone(),
        stop_signal: config.stop_signal.clone(),
        stop_timeout: config.stop_timeout.and_then(|seconds| i32::try_from(seconds).ok()),
        exposed_ports: config.exposed_ports.keys().cloned().collect(),
        volumes: config.volumes.keys().cloned().collect(),
        ..wire::ContainerConfig::default()
    }
}

pub fn history(entry: HistoryEntry) -> wire::HistoryEntry {
    wire::HistoryEntry {
        id: entry.id.map(|id| id.to_string()).unwrap_or_default(),
        created_at: time::from_text(entry.created.as_deref()),
        created_by: entry.created_by,
        size: bytes(entry.size),
        comment: entry.comment,
        tags: entry.tags,
    }
}

pub fn pull_event(event: PullEvent) -> wire::PullProgress {
    match event {
        PullEvent::Step(step) => wire::PullProgress {
            id: step.id,
            status: step.status.to_string(),
            current: step.current,
            total: step.total,
            result: None,
        },
        PullEvent::Done(pulled) => wire::PullProgress {
            result: Some(wire::PullResult {
                reference: pulled.reference,
                digest: pulled.digest.to_string(),
                id: pulled.id.to_string(),
                up_to_date: pulled.up_to_date,
            }),
            ..wire::PullProgress::default()
        },
    }
}
