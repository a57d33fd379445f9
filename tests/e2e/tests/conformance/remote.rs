//! A daemon, and how its answers read in the suites' words.

use gantry_core::{Error, ErrorKind, Namespace, Result};
use gantry_e2e::client::{Caller, Connection};
use gantry_e2e::{House, HouseOptions};
use gantry_proto_containerd::prost_types::{FieldMask, Timestamp};
use gantry_proto_containerd::services::leases::v1 as leases;
use gantry_proto_containerd::time::system_time;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::runtime::{Handle, Runtime};
use tonic::{Code, Status};

/// The lease under which a suite works, as clients do: what nothing refers to is collected.
const LEASE: &str = "suite";

/// Dropped in this order: clients first.
pub struct Place {
    pub connection: Connection,
    pub runtime: Runtime,
    pub house: House,
}

impl Place {
    pub fn new() -> Self {
        Self::with(HouseOptions::default())
    }

    pub fn with(options: HouseOptions) -> Self {
        let house = House::with(HouseOptions { bare: true, ..options });
        let runtime = Runtime::new().unwrap();
        let connection = runtime.block_on(Connection::dial(&house.socket()));
        Self {
            connection,
            runtime,
            house,
        }
    }

    pub fn remote(&self) -> Remote {
        Remote {
            connection: self.connection.clone(),
            handle: self.runtime.handle().clone(),
        }
    }

    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

/// Calls that wait.
#[derive(Clone)]
pub struct Remote {
    connection: Connection,
    pub handle: Handle,
}

impl Remote {
    pub fn run<T>(&self, work: impl Future<Output = std::result::Result<T, Status>>) -> Result<T> {
        self.handle.block_on(work).map_err(error)
    }

    /// A caller in this namespace, under its lease.
    pub fn caller(&self, ns: &Namespace) -> Caller {
        let caller = self.connection.of(ns.as_str());
        let request = leases::CreateRequest {
            id: LEASE.to_owned(),
            ..leases::CreateRequest::default()
        };
        match self.run(caller.leases().create(request)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => drop(other.expect("a lease is made")),
        }
        caller.under(LEASE)
    }

    /// Without a namespace.
    pub fn anybody(&self) -> Caller {
        self.connection.anybody()
    }
}

/// A refusal as the daemon's rooms would have said it.
pub fn error(status: Status) -> Error {
    let kind = match status.code() {
        Code::FailedPrecondition => ErrorKind::FailedPrecondition,
        Code::InvalidArgument => ErrorKind::InvalidArgument,
        code => ErrorKind::ALL
            .into_iter()
            .find(|kind| kind.grpc_code() == code as i32)
            .unwrap_or(ErrorKind::Unknown),
    };
    Error::new(kind, status.message())
}

pub fn time(stamp: Option<Timestamp>) -> SystemTime {
    system_time(stamp.as_ref()).unwrap_or(UNIX_EPOCH)
}

/// The mask that names these labels.
pub fn mask<'a>(keys: impl Iterator<Item = &'a String>) -> Option<FieldMask> {
    Some(FieldMask {
        paths: keys.map(|key| format!("labels.{key}")).collect(),
    })
}
