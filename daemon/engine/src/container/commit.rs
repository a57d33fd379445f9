//! Commit: a container's changes and configuration become an image.

use super::changes::MOUNT_POINTS;
use crate::gate::blocking;
use crate::image::ImageRecord;
use crate::image::tag::image_event;
use crate::keeper::Keeper;
use crate::{Engine, records};
use gantry_core::container::{ContainerConfig, ContainerRecord};
use gantry_core::lifecycle::{Event, Request, State};
use gantry_core::reference::Reference;
use gantry_core::{Digest, Error, Labels, Result, spec};
use gantry_image::{Commit, CommitOf, Healthcheck, RunConfig};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::warn;

/// How long the news of an end may take.
const END: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Default)]
pub struct CommitContainer {
    pub container: String,
    /// Empty = no name.
    pub reference: String,
    pub author: String,
    pub message: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// Freeze it meanwhile, if it runs.
    pub pause: bool,
    /// What the image presets; `None` = as the container has it.
    pub config: Option<ContainerConfig>,
}

impl Engine {
    /// The id of the new image.
    pub async fn commit(&self, request: CommitContainer) -> Result<Digest> {
        let keeper = self.find(&request.container)?;
        let reference = match request.reference.as_str() {
            "" => None,
            text => Some(named(text)?),
        };
        let record = keeper.record();
        if matches!(
            keeper.state(),
            State::Removing { .. } | State::Dead { .. } | State::Removed
        ) {
            return Err(Error::conflict(format!(
                "You cannot commit container {} which is being removed",
                keeper.id()
            )));
        }
        let engine = self.clone();
        crate::finish(async move {
            let pause = request.pause && frozen(&keeper).await?;
            let made = engine.commit_of(&record, &request).await;
            if pause {
                thaw(&keeper).await;
            }
            let image = made?;
            let name = match &reference {
                Some(reference) => ImageRecord::new(reference.to_string(), image.target.clone()),
                None => ImageRecord::dangling(image.target.clone()),
            };
            let mut extra = Labels::from([("imageID".to_owned(), image.id.to_string())]);
            extra.insert("comment".to_owned(), request.message.clone());
            if let Some(reference) = &reference {
                extra.insert("imageRef".to_owned(), reference.familiar());
            }
            let mut events = Vec::new();
            if reference.is_some() {
                events.push(image_event("tag", &image.id, &name.name));
            }
            events.push(engine.context.container_event(&record, "commit", extra));
            let context = engine.context.clone();
            let told = blocking(move || records::name_image(&context, name, events)).await?;
            engine.context.bus.publish(told);
            Ok(image.id)
        })
        .await
    }

    async fn commit_of(&self, record: &ContainerRecord, request: &CommitContainer) -> Result<gantry_image::Pulled> {
        let base = self.image(&record.image_id.to_string()).await?;
        let of = CommitOf {
            base: base.target.clone(),
            snapshotter: record.snapshotter.clone(),
            snapshot: record.snapshot_key.clone(),
            parent: (!record.chain_id.is_empty()).then(|| record.chain_id.clone()),
            mount_points: MOUNT_POINTS.map(str::to_owned).to_vec(),
        };
        let preset = match request.config.clone() {
            Some(asked) => over(asked, &record.config, &base.config.config)?,
            None => record.config.clone(),
        };
        let commit = Commit {
            author: request.author.clone(),
            message: request.message.clone(),
            created_by: record.args.join(" "),
            config: preset_of(&preset, &base.config.config),
            changes: request.changes.clone(),
        };
        self.context.images.commit(&self.context.namespace, of, commit).await
    }
}

/// Freezes a container that runs; false for one that does not, or has come to its end meanwhile.
async fn frozen(keeper: &Keeper) -> Result<bool> {
    let runs = |state: &State| matches!(state, State::Running { .. });
    if !runs(&keeper.state()) {
        return Ok(false);
    }
    // A daemon that dies meanwhile leaves it frozen, and the next one is to know better.
    keeper.brief(true).await;
    let Err(error) = keeper.ask(Event::Pause, Request::Pause).await else {
        return Ok(true);
    };
    keeper.brief(false).await;
    // What cannot be frozen may have ended, and the news of it be on its way.
    let ended = keeper.until(Some(END), |view| !runs(&view.state)).await;
    match ended.map(|view| view.state) {
        None | Some(State::Pausing { .. } | State::Paused { .. }) => Err(error),
        Some(_) => Ok(false),
    }
}

async fn thaw(keeper: &Keeper) {
    let resumed = keeper.ask(Event::Resume, Request::Resume).await;
    // One that has ended meanwhile is frozen no more.
    if let (Err(error), State::Paused { .. }) = (resumed, keeper.state()) {
        warn!(container = %keeper.id(), err = %error, "the container stays frozen after its commit");
    }
    keeper.brief(false).await;
}

fn named(text: &str) -> Result<Reference> {
    let reference = Reference::parse(text)?;
    if reference.digest().is_some() {
        return Err(Error::invalid("cannot import digest reference"));
    }
    Ok(reference.or_latest())
}

/// What is asked for, with the container's own where nothing is said: as a new container's is put over its image's.
fn over(asked: ContainerConfig, own: &ContainerConfig, base: &RunConfig) -> Result<ContainerConfig> {
    let bad = |error: serde_json::Error| Error::internal(format!("the container's configuration: {error}"));
    let preset = serde_json::to_value(preset_of(own, base)).map_err(bad)?;
    let preset: oci_spec::image::Config = serde_json::from_value(preset).map_err(bad)?;
    let mut merged = spec::merge::merge(asked, Some(&preset))?;
    spec::merge::merge_health(&mut merged.healthcheck, own.healthcheck.clone());
    Ok(merged)
}

/// A container's configuration as an image presets it.
fn preset_of(config: &ContainerConfig, base: &RunConfig) -> RunConfig {
    let set =
        |paths: &[String]| -> BTreeMap<String, Value> { paths.iter().map(|path| (path.clone(), json!({}))).collect() };
    RunConfig {
        user: config.user.clone(),
        exposed_ports: set(&config.exposed_ports),
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: Some(config.cmd.clone()).filter(|cmd| !cmd.is_empty()),
        volumes: set(&config.volumes),
        working_dir: config.working_dir.clone(),
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone(),
        stop_timeout: config.stop_timeout.map(i64::from),
        healthcheck: config.healthcheck.as_ref().map(|check| Healthcheck {
            test: check.test.clone(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
            exit_on_unhealthy: check.exit_on_unhealthy == Some(true),
        }),
        on_build: base.on_build.clone(),
        shell: base.shell.clone(),
        other: base.other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays_the_containers() {
        let strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let own = ContainerConfig {
            user: "web".to_owned(),
            env: strings(&["A=own", "B=own"]),
            cmd: strings(&["serve"]),
            entrypoint: Some(strings(&["/init"])),
            labels: Labels::from([("l".to_owned(), "own".to_owned())]),
            exposed_ports: strings(&["80/tcp"]),
            ..ContainerConfig::default()
        };
        let asked = ContainerConfig {
            env: strings(&["B=asked"]),
            cmd: strings(&["other"]),
            ..ContainerConfig::default()
        };
        let merged = over(asked, &own, &RunConfig::default()).unwrap();
        assert_eq!(merged.env, ["B=asked", "A=own"]);
        assert_eq!(
            (merged.cmd, merged.entrypoint),
            (strings(&["other"]), own.entrypoint.clone())
        );
        assert_eq!((merged.user.as_str(), &merged.labels), ("web", &own.labels));
        assert_eq!(merged.exposed_ports, own.exposed_ports);
    }
}
