//! Create: everything checked, a writable layer made, and a record written, or nothing at all.

use crate::context::Context;
use crate::gate::blocking;
use crate::image::Image;
use crate::keeper::Keeper;
use crate::records::Course;
use crate::{Engine, failpoint, host, names, records};
use gantry_core::container::{ContainerConfig, ContainerRecord, HostConfig, NetworkMode, RestartName};
use gantry_core::lifecycle::State;
use gantry_core::network::EndpointSettings;
use gantry_core::snapshot::SnapshotOptions;
use gantry_core::spec::{Cgroup, Network};
use gantry_core::volume::NewVolume;
use gantry_core::{ContainerId, Error, ErrorKind, Mount, Result, error::io_kind, spec};
use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::time::SystemTime;

#[derive(Debug, Clone, Default)]
pub struct CreateContainer {
    /// Empty = made up.
    pub name: String,
    pub config: ContainerConfig,
    pub host: HostConfig,
    /// What is asked of networks, by name or id; the one of the network mode may be left out.
    pub networks: BTreeMap<String, EndpointSettings>,
}

struct Asked {
    config: ContainerConfig,
    host: HostConfig,
    networks: BTreeMap<String, EndpointSettings>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    pub id: ContainerId,
    pub warnings: Vec<String>,
}

impl Engine {
    pub async fn create(&self, request: CreateContainer) -> Result<Created> {
        let name = request.name.strip_prefix('/').unwrap_or(&request.name).to_owned();
        if !name.is_empty() {
            self.check_name(&name)?;
            self.check_free(&name)?;
        }
        if request.config.image.is_empty() {
            return Err(Error::invalid(
                "no image given: name the image to make the container from",
            ));
        }
        let image = self.image(&request.config.image).await?;
        let engine = self.clone();
        let asked = Asked {
            config: request.config,
            host: request.host,
            networks: request.networks,
        };
        crate::finish(async move { engine.create_from(name, image, asked).await }).await
    }

    async fn create_from(&self, name: String, image: Image, request: Asked) -> Result<Created> {
        self.ensure_unpacked(&image).await?;
        let context = self.context.clone();
        let id = self.fresh_id();
        let makes_dir = !request.config.working_dir.is_empty();
        let (draft, wanted) = blocking(move || draft(&context, id, image, request)).await?;
        for attempt in 0.. {
            let mut record = draft.clone();
            record.name = if name.is_empty() {
                names::random(attempt)
            } else {
                name.clone()
            };
            let context = self.context.clone();
            let wanted = wanted.clone();
            let attempted = blocking(move || build(&context, record, &wanted, makes_dir)).await;
            match attempted {
                Ok((record, (told, claims))) => {
                    let created = self.begin(record, told);
                    // Its volumes are known to be used from here on.
                    drop(claims);
                    return Ok(created);
                }
                Err(error) if error.kind() == ErrorKind::Conflict && name.is_empty() && attempt < 20 => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::internal(
            "no free name was found for the container; give one with --name",
        ))
    }

    fn begin(&self, record: ContainerRecord, told: Vec<crate::events::Event>) -> Created {
        let created = Created {
            id: record.id.clone(),
            warnings: record.warnings.clone(),
        };
        let keeper = Keeper::begin(self.context.clone(), Arc::new(record), Course::new(State::Created));
        self.context.registry.insert(keeper);
        self.context.bus.publish(told);
        created
    }

    /// An id that no existing name could be mistaken for (P02, the other way round).
    fn fresh_id(&self) -> ContainerId {
        loop {
            let id = ContainerId::from_random(rand::random());
            let taken = (12..=64).any(|length| self.context.registry.by_name(&id.as_str()[..length]).is_some());
            if !taken {
                return id;
            }
        }
    }

    fn check_free(&self, name: &str) -> Result<()> {
        match self.context.registry.by_name(name) {
            Some(owner) => Err(records::name_taken(name, &owner)),
            None => Ok(()),
        }
    }
}

/// What the daemon's configuration says where the request does not.
fn preset(context: &Context, mut host: HostConfig) -> HostConfig {
    let config = &context.config;
    if host.ipc_mode.is_empty() {
        host.ipc_mode.clone_from(&config.ipc_mode);
    }
    // Under cgroup v1 a privileged container sees the host's, as Docker has it.
    let open = host.privileged && context.facts.cgroup != Cgroup::V2;
    if host.cgroupns_mode.is_empty() && !open {
        host.cgroupns_mode.clone_from(&config.cgroupns_mode);
    }
    if host.log.driver.is_empty() {
        host.log.driver.clone_from(&config.log.driver);
    }
    if host.log.driver == config.log.driver {
        for (name, value) in &config.log.options {
            host.log.options.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    host
}

/// Merges image and request and checks all that can be checked before anything is made.
fn draft(
    context: &Arc<Context>,
    id: ContainerId,
    image: Image,
    request: Asked,
) -> Result<(ContainerRecord, Vec<NewVolume>)> {
    let Asked { config, host, networks } = request;
    super::networking::refuse_conflicts(&config, &host)?;
    let host = preset(context, host);
    let chain_id = image.chain_id();
    let preset = image.preset()?;
    let mut merged = spec::merge::merge(config, preset.as_ref())?;
    spec::merge::merge_health(&mut merged.healthcheck, image.healthcheck());
    if let Some(check) = &merged.healthcheck {
        spec::merge::check_health(check)?;
    }
    if host.auto_remove && host.restart.name != RestartName::No {
        return Err(Error::invalid(
            "can't create 'AutoRemove' container with restart policy",
        ));
    }
    let args = spec::merge::command(&merged)?;
    let mut record = ContainerRecord {
        id: id.clone(),
        name: String::new(),
        created_at: SystemTime::now(),
        image_id: image.id,
        chain_id,
        config: merged,
        host,
        args,
        snapshotter: context.config.snapshotter.clone(),
        snapshot_key: id.to_string(),
        warnings: Vec::new(),
        networks,
        mounts: Vec::new(),
    };
    context.runtime(&record.host.runtime)?;
    super::logging::config(context, &record)?;
    let plan = crate::volume::plan::plan(context, &record)?;
    record.mounts = plan.mounts;
    let shared = host::shared::check(context, &mut record)?;
    let warned = super::networking::check(context, &mut record)?;
    let network = match record.host.network_mode {
        NetworkMode::Host => Network::Host,
        _ => Network::Private,
    };
    // The same spec that a start will build, for its errors and warnings; who the user is can wait.
    let around = host::Around {
        network,
        binds: context.volumes.shown(&record),
        shared,
        linked: Vec::new(),
    };
    let (_, warnings) = host::spec(context, &record, spec::user::ResolvedUser::root(), around)?;
    record.warnings = warned;
    record.warnings.extend(warnings);
    Ok((record, plan.wanted))
}

/// Makes the writable layer, the directory, and then in one batch their records; takes back what was made if a later step fails.
/// `makes_dir`: the working directory was asked for, and need not be the image's.
fn build(
    context: &Arc<Context>,
    record: ContainerRecord,
    wanted: &[NewVolume],
    makes_dir: bool,
) -> Result<(ContainerRecord, records::Recorded)> {
    let claim = records::claim_name(context, &record)?;
    failpoint!("engine::create::claimed");
    let parent = (!record.chain_id.is_empty()).then_some(record.chain_id.as_str());
    let layer = context.snapshots.make(
        &context.namespace,
        &record.snapshotter,
        &record.snapshot_key,
        parent,
        SnapshotOptions::default(),
    )?;
    failpoint!("engine::create::snapshot");
    let written = make_dir(context, &record).and_then(|()| {
        failpoint!("engine::create::files");
        if makes_dir {
            make_working_dir(context, &record, layer.mounts()?)?;
        }
        let brought = context.volumes.bring(context, &record, wanted, &layer)?;
        let event = context.container_event(&record, "create", Default::default());
        // A layer that is not recorded takes itself away.
        records::create(context, &record, layer, brought, vec![event])
    });
    failpoint!("engine::create::recorded");
    drop(claim);
    if written.is_err()
        && let Err(error) = super::teardown::remove_tree(&context.state_dir(&record.id))
    {
        tracing::warn!(err = %error, "the directory of a container that was not created stays for the next start");
    }
    Ok((record, written?))
}

/// As Docker does, so that files can be copied there before the first start. What is mounted there is not there yet.
fn make_working_dir(context: &Context, record: &ContainerRecord, layer: Vec<Mount>) -> Result<()> {
    let dir = record.config.working_dir.clone();
    let hidden = record
        .mounts
        .iter()
        .any(|mount| std::path::Path::new(&dir).starts_with(&mount.target));
    if hidden || dir == "/" {
        return Ok(());
    }
    let made = super::rootfs::with(&context.mount_point(), &layer, move |root| {
        super::rootfs::make_dir(root, &dir)
    });
    made.map_err(|error| error.context(format!("make the working directory {}", record.config.working_dir)))
}

fn make_dir(context: &Context, record: &ContainerRecord) -> Result<()> {
    let dir = context.state_dir(&record.id);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o710)
        .create(&dir)
        .map_err(|error| Error::new(io_kind(&error), format!("make {}: {error}", dir.display())))
}
