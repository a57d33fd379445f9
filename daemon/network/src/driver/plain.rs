//! The networks without interfaces of ours: the host's own, and none.

use super::Driver;
use crate::Result;
use gantry_core::network::{Endpoint, NetworkRecord};
use gantry_core::{Error as Fault, ErrorKind};
use std::os::fd::BorrowedFd;

/// The host's network: its containers have no sandbox of their own.
#[derive(Debug, Clone, Copy)]
pub struct Host;

/// A sandbox with nothing but its loopback.
#[derive(Debug, Clone, Copy)]
pub struct Null;

fn only_one(network: &NetworkRecord, others: &[NetworkRecord]) -> Result<()> {
    let same = |other: &&NetworkRecord| other.driver == network.driver && other.id != network.id;
    match others.iter().find(same) {
        None => Ok(()),
        Some(other) => Err(Fault::new(
            ErrorKind::PermissionDenied,
            format!("there is one {} network only: {}", network.driver, other.name),
        )
        .into()),
    }
}

macro_rules! without_interfaces {
    ($driver:ty, $name:literal) => {
        impl Driver for $driver {
            fn name(&self) -> &str {
                $name
            }

            fn addresses(&self) -> bool {
                false
            }

            fn check(&self, network: &mut NetworkRecord, others: &[NetworkRecord]) -> Result<()> {
                only_one(network, others)
            }

            fn create(&self, _: &NetworkRecord) -> Result<()> {
                Ok(())
            }

            fn remove(&self, _: &NetworkRecord) -> Result<()> {
                Ok(())
            }

            fn join(&self, _: &NetworkRecord, _: &Endpoint, _: BorrowedFd<'_>) -> Result<()> {
                Ok(())
            }

            fn leave(&self, _: &NetworkRecord, _: &Endpoint, _: Option<BorrowedFd<'_>>) -> Result<()> {
                Ok(())
            }
        }
    };
}

without_interfaces!(Host, "host");
without_interfaces!(Null, "null");
