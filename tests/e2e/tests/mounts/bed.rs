//! A daemon, and a client of its mounts service that need not wait in its tests.

use gantry_e2e::client::{Caller, Connection};
use gantry_e2e::{House, HouseOptions, PATIENCE, erofs, eventually, loops};
use gantry_proto_containerd::services::leases::v1 as leases;
use gantry_proto_containerd::services::mounts::v1 as pb;
use gantry_proto_containerd::types::{ActivationInfo, Mount};
use std::fs;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;
use tonic::Status;

pub const NS: &str = "kept";
const HELD: &str = "held";
/// The file in the image of [`Bed::erofs`].
pub const FILE: &str = "file";

pub struct Bed {
    pub house: House,
    pub runtime: Runtime,
    /// Under a lease: what nothing refers to may be collected at any time.
    pub caller: Caller,
}

impl Bed {
    pub fn new() -> Self {
        let house = House::with(HouseOptions {
            bare: true,
            ..HouseOptions::default()
        });
        let runtime = Runtime::new().unwrap();
        let caller = runtime.block_on(Connection::dial(&house.socket())).of(NS);
        let bed = Self { house, runtime, caller };
        bed.lease(&bed.caller, HELD);
        Self {
            caller: bed.caller.under(HELD),
            ..bed
        }
    }

    /// A caller in another namespace, under a lease.
    pub fn elsewhere(&self, ns: &str) -> Caller {
        let caller = self.caller.connection().of(ns);
        self.lease(&caller, HELD);
        caller.under(HELD)
    }

    pub fn lease(&self, caller: &Caller, id: &str) -> String {
        let request = leases::CreateRequest {
            id: id.to_owned(),
            ..leases::CreateRequest::default()
        };
        let made = self.ask(async { caller.leases().create(request).await });
        made.unwrap().into_inner().lease.unwrap().id
    }

    /// Ends the daemon, by SIGTERM or SIGKILL.
    pub fn end(&mut self, hard: bool) {
        match hard {
            true => self.house.kill_daemon(),
            false => self.house.stop_daemon(),
        }
    }

    pub fn begin(&mut self) {
        self.house.start();
        let connection = self.runtime.block_on(Connection::dial(&self.house.socket()));
        self.caller = connection.of(NS).under(HELD);
    }

    /// Waits for an answer.
    pub fn ask<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }

    pub fn activate(&self, name: &str, mounts: &[Mount]) -> Result<ActivationInfo, Status> {
        self.request(pb::ActivateRequest {
            name: name.to_owned(),
            mounts: mounts.to_vec(),
            ..pb::ActivateRequest::default()
        })
    }

    /// All of it is mounted, whatever it is.
    pub fn temporary(&self, name: &str, mounts: &[Mount]) -> Result<ActivationInfo, Status> {
        self.request(pb::ActivateRequest {
            name: name.to_owned(),
            mounts: mounts.to_vec(),
            temporary: true,
            ..pb::ActivateRequest::default()
        })
    }

    pub fn request(&self, request: pb::ActivateRequest) -> Result<ActivationInfo, Status> {
        self.request_as(&self.caller, request)
    }

    pub fn request_as(&self, caller: &Caller, request: pb::ActivateRequest) -> Result<ActivationInfo, Status> {
        let answer = self.ask(async { caller.mounts().activate(request).await })?;
        Ok(answer.into_inner().info.unwrap())
    }

    pub fn deactivate(&self, name: &str) -> Result<(), Status> {
        let request = pb::DeactivateRequest { name: name.to_owned() };
        self.ask(async { self.caller.mounts().deactivate(request).await })
            .map(drop)
    }

    pub fn info(&self, name: &str) -> Result<ActivationInfo, Status> {
        let request = pb::InfoRequest { name: name.to_owned() };
        let answer = self.ask(async { self.caller.mounts().info(request).await })?;
        Ok(answer.into_inner().info.unwrap())
    }

    /// Where the daemon mounts.
    pub fn places(&self) -> PathBuf {
        self.house.exec_root().join("mounts")
    }

    /// Nothing is mounted.
    pub fn is_clean(&self) -> bool {
        fs::read_dir(self.places()).unwrap().next().is_none()
    }

    /// Waits until nothing is mounted and no loop device has a file of the house: those are let go with their last user, who may be
    /// a mount namespace of somebody else.
    pub fn clean(&self) {
        eventually("nothing is mounted", PATIENCE, || {
            self.is_clean() && loops::behind(self.house.root()).is_empty()
        });
    }

    /// A directory of the house with a file in it.
    pub fn dir(&self, name: &str) -> PathBuf {
        let dir = self.house.root().join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("from"), name).unwrap();
        dir
    }

    /// An image of erofs whose one file says `content`.
    pub fn erofs(&self, content: &str) -> PathBuf {
        let path = self.house.root().join(format!("{content}.erofs"));
        fs::write(&path, erofs::image(FILE, content)).unwrap();
        path
    }
}

pub fn mount(kind: &str, source: impl AsRef<Path>, options: &[&str]) -> Mount {
    Mount {
        r#type: kind.to_owned(),
        source: source.as_ref().display().to_string(),
        target: String::new(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
    }
}

pub fn is_mounted(point: &str) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == Some(point))
}

/// What the caller of the API does with the mounts that are left to it, where nobody else sees it.
pub fn with_system<T: Send>(bed: &Bed, info: &ActivationInfo, work: impl FnOnce(&Path) -> T + Send) -> T {
    let mounts: Vec<gantry_core::Mount> = info
        .system
        .iter()
        .map(|one| gantry_core::Mount {
            kind: one.r#type.clone(),
            source: one.source.clone(),
            target: one.target.clone(),
            options: one.options.clone(),
        })
        .collect();
    gantry_snapshots_mount::with_mounted(&bed.house.root().join("system"), &mounts, work).unwrap()
}
