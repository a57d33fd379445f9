//! Making an activation.

use super::plan::{Alter, Plan, Step, plan};
use super::records::{Activation, ActiveMount, Record, State};
use super::{Activations, MOST, NewActivation, PATIENCE, failed, format, mkdir, mkfs};
use crate::failpoint;
use gantry_core::{Error, ErrorKind, Mount, Namespace, Result, label};
use gantry_snapshots_mount::{Loop, LoopOptions, perform};
use gantry_store::{Batch, Resource};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

impl Activations {
    /// Unimplemented if the caller can mount all of it by itself.
    pub fn activate(&self, ns: &Namespace, new: NewActivation) -> Result<Activation> {
        let Some(plan) = plan(&new.mounts, new.temporary, &new.allowed) else {
            let text = format!(
                "no mount of {:?} needs activation, mount them directly: not implemented",
                new.name
            );
            return Err(Error::new(ErrorKind::Unimplemented, text));
        };
        check(&new)?;
        let _claim = self.claim(ns, &new.name)?;
        if self.store.contains::<Record>(&(ns.clone(), new.name.clone()))? {
            return Err(Error::exists(format!("mount {:?}: already exists", new.name)));
        }
        let record = self.intend(ns, &new)?;
        let made = self.make(&record.id, plan, new.temporary).and_then(|(active, system)| {
            let record = Record {
                state: State::Active,
                updated_at: SystemTime::now(),
                active,
                system,
                ..record.clone()
            };
            let mut batch = Batch::new();
            batch.put(&(ns.clone(), new.name.clone()), &record)?;
            self.store.commit_unsynced(batch)?;
            Ok(record.shown(&new.name))
        });
        if made.is_err() {
            self.undo(ns, &new.name, &record);
        }
        made
    }

    /// Writes down what is to be.
    fn intend(&self, ns: &Namespace, new: &NewActivation) -> Result<Record> {
        let now = SystemTime::now();
        let record = Record {
            id: format!("{:016x}", rand::random::<u64>()),
            boot: super::keep::boot(),
            state: State::Making,
            created_at: now,
            updated_at: now,
            lease: new.lease.clone(),
            active: Vec::new(),
            system: Vec::new(),
            labels: new
                .labels
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        };
        let mut batch = Batch::new();
        let _kept = self.store.appear(&mut batch, ns)?;
        batch.put(&(ns.clone(), new.name.clone()), &record)?;
        let held = Resource::Mount(new.name.clone());
        self.leases.add_in(&mut batch, ns, new.lease.as_ref(), &held)?;
        self.store.commit_unsynced(batch)?;
        failpoint!("engine::activate::recorded");
        Ok(record)
    }

    /// What failed is over; whatever cannot be taken down at once is, later.
    fn undo(&self, ns: &Namespace, name: &str, record: &Record) {
        let mut batch = Batch::new();
        let ended = self.end_in(&mut batch, ns, name, record).and_then(|id| {
            self.store.commit_unsynced(batch)?;
            self.take_down(&id, PATIENCE)
        });
        if let Err(error) = ended {
            tracing::warn!(%ns, mount = name, err = %error, "what a failed activation left is taken down later");
            self.busy.notify_one();
        }
    }

    /// What is mounted, and what is left to mount.
    fn make(&self, id: &str, plan: Plan, temporary: bool) -> Result<(Vec<ActiveMount>, Vec<Mount>)> {
        let dir = self.dir.join(id);
        fs::create_dir(&dir).map_err(failed("make", &dir))?;
        let mut active: Vec<ActiveMount> = Vec::new();
        for step in plan.handled {
            let mount = self.altered(step, &active)?;
            let point = dir.join(active.len().to_string());
            let mounted_at = SystemTime::now();
            mount_one(&mount, &point, id).map_err(|error| error.context(format!("activate {} mount", mount.kind)))?;
            failpoint!("engine::activate::mounted");
            active.push(ActiveMount {
                mount,
                mounted_at,
                mount_point: point,
            });
        }
        let mut system = Vec::new();
        if let Some(first) = plan.first {
            system.push(self.altered(first, &active)?);
        }
        system.extend(plan.rest);
        if let Some(top) = active.last().filter(|_| temporary) {
            system.push(Mount {
                kind: "bind".to_owned(),
                source: top.mount_point.to_string_lossy().into_owned(),
                target: String::new(),
                options: vec!["rbind".to_owned()],
            });
        }
        failpoint!("engine::activate::made");
        Ok((active, system))
    }

    fn altered(&self, step: Step, active: &[ActiveMount]) -> Result<Mount> {
        step.alters
            .into_iter()
            .try_fold(step.mount, |mount, alter| match alter {
                Alter::Format => format::fill(mount, active),
                Alter::Mkdir => mkdir::make(mount, &self.roots),
                Alter::Mkfs => mkfs::make(mount, &self.roots),
            })
    }
}

fn check(new: &NewActivation) -> Result<()> {
    if new.name.is_empty() {
        return Err(Error::invalid("an activation needs a name"));
    }
    if new.mounts.len() > MOST {
        let text = format!(
            "{} mounts are too many for one activation: at most {MOST}",
            new.mounts.len()
        );
        return Err(Error::invalid(text));
    }
    label::validate(&new.labels)
}

fn mount_one(mount: &Mount, point: &Path, id: &str) -> Result<()> {
    match mount.kind.as_str() {
        "loop" => mount_loop(mount, point, id),
        _ => {
            fs::create_dir(point).map_err(failed("make", point))?;
            Ok(perform(std::slice::from_ref(mount), point).map_err(clients_own)?)
        }
    }
}

/// The device goes by itself until the link that leads to it is there.
fn mount_loop(mount: &Mount, point: &Path, id: &str) -> Result<()> {
    let has = |word: &str| mount.options.iter().any(|option| option == word);
    let options = LoopOptions {
        read_only: has("ro"),
        direct_io: has("direct-io"),
        name: super::keep::device_name(id),
    };
    let device = Loop::attach(&PathBuf::from(&mount.source), &options).map_err(clients_own)?;
    std::os::unix::fs::symlink(device.path(), point).map_err(failed("make", point))?;
    failpoint!("engine::activate::device");
    Ok(device.keep()?)
}

/// What a client asks for is its own fault where the kernel calls it nonsense.
fn clients_own(error: gantry_snapshots_mount::Error) -> Error {
    let kind = error.kind();
    let said = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
    let nonsense = said.is_some_and(|said| {
        use nix::errno::Errno;
        let codes = [
            Errno::EINVAL,
            Errno::ENODEV,
            Errno::ENOTBLK,
            Errno::ENOTDIR,
            Errno::EISDIR,
            Errno::EUCLEAN,
            Errno::ENXIO,
        ];
        said.kind() == io::ErrorKind::InvalidInput || codes.iter().any(|code| said.raw_os_error() == Some(*code as i32))
    });
    match kind {
        ErrorKind::Internal if nonsense => Error::wrap(ErrorKind::InvalidArgument, error),
        kind => Error::wrap(kind, error),
    }
}
