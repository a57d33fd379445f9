//! Tasks of containerd's clients under any shim: a bundle as containerd lays it, the shim's program run as containerd runs it, and
//! `delete` where a shim died.

mod lay;
pub(crate) mod log;
mod strays;

pub use lay::Discarded;

use crate::bundle::BundleName;
use crate::cleanup::Leftover;
use crate::error::{Result, TaskError};
use crate::reconnect::{Lookup, Reunion};
use crate::shim::Shim;
use crate::shims::{Shims, blocking};
use crate::spawn::Invocation;
use crate::words::{Deleted, to_any};
use gantry_core::meta::Any;
use gantry_core::{ContainerId, Namespace};
use gantry_proto_shim::{api, protobuf::Message};
use gantry_shim_protocol::Bootstrap;
use std::path::PathBuf;
use std::time::Duration;

/// How long a shim's program may take to clear what a dead shim left.
const DELETE: Duration = Duration::from_secs(5);

/// A shim to be started for a task of a client.
#[derive(Clone, Debug)]
pub struct LaunchShim {
    pub namespace: Namespace,
    pub id: ContainerId,
    /// `config.json`, byte for byte.
    pub spec: Vec<u8>,
    /// See [`crate::shim_program`].
    pub program: PathBuf,
    /// For the shim, on its stdin.
    pub options: Option<Any>,
    /// A directory of the task's own that outlives reboots, for what the shim wants to keep.
    pub work: PathBuf,
}

/// Where a shim serves tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    socket: String,
    version: u32,
}

impl Endpoint {
    /// An address as containerd writes it (`ttrpc+unix:///path`, or without what is before the plus), and the version of the task
    /// service there: 2, 3, or 0 for whichever it has. None where a shim cannot be talked to in this way.
    pub fn parse(address: &str, version: u32) -> Option<Self> {
        let socket = address.strip_prefix("ttrpc+").unwrap_or(address);
        let path = socket.strip_prefix("unix://")?;
        (path.starts_with('/') && matches!(version, 0 | 2 | 3)).then(|| Self {
            socket: socket.to_owned(),
            version,
        })
    }

    fn bootstrap(&self) -> Bootstrap {
        Bootstrap {
            // One that has only the older is found out by asking.
            version: if self.version == 0 { 3 } else { self.version },
            address: self.socket.clone(),
            protocol: "ttrpc".to_owned(),
        }
    }
}

/// What a dead shim left is cleared.
#[derive(Clone, Debug, Default)]
pub struct Mourned {
    /// What the shim's program knew of the task's end.
    pub deleted: Option<Deleted>,
}

impl Shims {
    /// Makes the bundle, runs the shim (or finds the one of its group) and connects to it. What a failure leaves is the
    /// caller's to clear ([`Shims::mourn`]), unless it is `AlreadyExists`: then the bundle is another task's.
    pub async fn launch(&self, launch: LaunchShim) -> Result<Shim> {
        self.open(launch, None).await
    }

    /// The same for a shim that is there already and is not this task's to end; none is started.
    pub async fn join(&self, launch: LaunchShim, host: Endpoint) -> Result<Shim> {
        self.open(launch, Some(host)).await
    }

    async fn open(&self, launch: LaunchShim, host: Option<Endpoint>) -> Result<Shim> {
        let shims = self.clone();
        let (namespace, id) = (launch.namespace.clone(), launch.id.clone());
        let guest = host.is_some();
        let (bootstrap, pipe) = blocking("start a shim", move || shims.launch_now(&launch, host.as_ref())).await?;
        let limit = self.config().deadlines.call;
        let shim = self.connect(namespace, id, bootstrap.clone(), limit).await?;
        shim.keep_log(pipe);
        // A host is never killed for its guest.
        let mark = shim.greet().await?.filter(|_| !guest);
        let bundle = shim.bundle().clone();
        let version = shim.version();
        blocking("write down a shim's address", move || {
            bundle.settle(&Bootstrap { version, ..bootstrap }, mark.as_ref())
        })
        .await?;
        Ok(shim)
    }

    fn launch_now(&self, launch: &LaunchShim, host: Option<&Endpoint>) -> Result<(Bootstrap, log::Pipe)> {
        let bundle = self.bundle(&launch.namespace, &launch.id);
        bundle.make(&launch.spec)?;
        bundle.lay(launch)?;
        if let Some(host) = host {
            bundle.mark_guest(&host.socket)?;
        }
        let pipe = log::Pipe::open(&bundle)?;
        if let Some(host) = host {
            return Ok((host.bootstrap(), pipe));
        }
        let options = launch.options.clone().map(to_any);
        let stdin = options.map(|any| any.write_to_bytes().unwrap_or_default());
        let bootstrap = self.call_program(
            &launch.namespace,
            &launch.id,
            &launch.program,
            stdin.unwrap_or_default(),
            |invocation| invocation.run(self.config().deadlines.spawn),
        )?;
        Ok((bootstrap, pipe))
    }

    fn call_program<T>(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        program: &std::path::Path,
        stdin: Vec<u8>,
        call: impl FnOnce(&Invocation<'_>) -> Result<T>,
    ) -> Result<T> {
        let config = self.config();
        let daemon = std::env::current_exe().unwrap_or_else(|_| config.shim.clone());
        call(&Invocation {
            exe: &self.exe,
            program,
            bundle: self.bundle(namespace, id).path(),
            namespace: namespace.as_str(),
            id: id.as_str(),
            grpc_address: &config.grpc_address,
            ttrpc_address: self.events(),
            publish_binary: &daemon,
            socket_dir: &self.socket_dir(),
            debug: config.debug,
            stdin,
        })
    }

    /// Bundles of clients' tasks. Blocks.
    pub fn foreign_bundles(&self) -> Result<Vec<BundleName>> {
        let mut found = self.list_bundles()?;
        // One that was being removed is no task's any more; see [`Shims::leaving`].
        found.retain(|name| self.bundle(&name.namespace, &name.id).exists() && self.is_foreign(name));
        Ok(found)
    }

    /// Whether a bundle is a client's task's, and not of a container of the engine's own. Blocks.
    pub fn is_foreign(&self, name: &BundleName) -> bool {
        // One that was not finished has nothing in it that tells.
        name.namespace != Namespace::engine() || self.bundle(&name.namespace, &name.id).program().is_some()
    }

    /// Looks for the shim of a client's task after a restart; see [`Shims::reconnect`].
    pub async fn rejoin(&self, name: &BundleName) -> Result<Reunion> {
        let bundle = self.bundle(&name.namespace, &name.id);
        let lookup = Lookup {
            namespace: name.namespace.clone(),
            id: name.id.clone(),
            state_dir: bundle.path().to_owned(),
            mark: None,
        };
        let reunion = self.reconnect(&lookup).await?;
        if let Reunion::Found { shim, .. } | Reunion::Idle { shim } = &reunion {
            let pipe = blocking("open a shim's log", move || log::Pipe::open(&bundle)).await?;
            shim.keep_log(pipe);
        }
        Ok(reunion)
    }

    /// Kills a shim that does not answer, so that its tasks end. `false` if its process is not known, or gone.
    pub async fn put_down(&self, name: &BundleName) -> Result<bool> {
        let bundle = self.bundle(&name.namespace, &name.id);
        blocking("kill a shim", move || match bundle.shim_mark() {
            Some(mark) => mark.kill(),
            None => Ok(false),
        })
        .await
    }

    /// Writes down that a task's exit is told. `true` the first time.
    pub async fn told_exit(&self, name: &BundleName) -> Result<bool> {
        let bundle = self.bundle(&name.namespace, &name.id);
        blocking("write down an exit", move || bundle.told_exit()).await
    }

    /// Clears what a dead shim left of a task: by the shim's own program, which knows its ways, and then whatever is still there.
    pub async fn mourn(&self, name: &BundleName) -> Result<Mourned> {
        let (shims, name) = (self.clone(), name.clone());
        let (deleted, leftover, work) = blocking("clear what a dead shim left", move || {
            let bundle = shims.bundle(&name.namespace, &name.id);
            if bundle.shim_mark().is_none() && !bundle.is_guest() {
                strays::end(&shims.config().grpc_address, &name);
            }
            let leftover = Leftover {
                cgroup_path: bundle.cgroup_path(name.id.as_str()),
                namespace: name.namespace,
                id: name.id,
                mark: None,
            };
            Ok((shims.delete_now(&leftover), leftover, bundle.work()))
        })
        .await?;
        self.cleanup(leftover).await?;
        if let Some(work) = work {
            blocking("remove what a task kept", move || lay::remove_work(&work)).await?;
        }
        Ok(Mourned { deleted })
    }

    /// Runs the program's `delete`. That it fails is no more than its answer missing.
    fn delete_now(&self, leftover: &Leftover) -> Option<Deleted> {
        let (namespace, id) = (&leftover.namespace, &leftover.id);
        let program = self.bundle(namespace, id).program()?;
        let deleted = self.call_program(namespace, id, &program, Vec::new(), |invocation| {
            invocation.delete(DELETE)
        });
        let answer = deleted.and_then(|bytes| {
            api::DeleteResponse::parse_from_bytes(&bytes).map_err(|error| TaskError::Answer {
                deed: "read the answer of delete for",
                id: id.to_string(),
                message: error.to_string(),
            })
        });
        match answer {
            Ok(answer) => Some(Deleted::from_wire(&answer)).filter(|deleted| deleted.pid != 0),
            Err(error) => {
                tracing::warn!(ns = %namespace, container = %id, err = %error, "a dead shim's program could not clear after it");
                None
            }
        }
    }

    /// Takes the bundle of a task that was deleted out of the way, with what outlives reboots, to be removed when there is
    /// time. What its shim left mounted there is unmounted. The shim may live on for others.
    pub async fn discard(&self, shim: &Shim) -> Result<Discarded> {
        let bundle = shim.bundle().clone();
        let limit = self.config().deadlines.cleanup;
        blocking("put a bundle aside", move || bundle.discard(limit)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_shims_serve() {
        let socket = |address, version| Endpoint::parse(address, version).map(|found| found.bootstrap());
        let plain = socket("unix:///run/s/1", 2).unwrap();
        assert_eq!((plain.socket_path(), plain.version), (Some("/run/s/1"), 2));
        let named = socket("ttrpc+unix:///run/s/1", 0).unwrap();
        assert_eq!((named.socket_path(), named.version), (Some("/run/s/1"), 3));
        for (address, version) in [
            ("grpc+unix:///run/s/1", 3),
            ("ttrpc+vsock://3:1024", 3),
            ("unix://relative", 3),
            ("/run/s/1", 3),
            ("unix:///run/s/1", 4),
            ("unix:///run/s/1", 1),
        ] {
            assert!(Endpoint::parse(address, version).is_none(), "{address} {version}");
        }
    }
}
