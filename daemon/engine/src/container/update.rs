//! Update: other limits and another restart policy, for a container that runs too.

use crate::gate::blocking;
use crate::{Engine, host, records};
use gantry_core::container::{ContainerRecord, HostConfig, RestartName, RestartPolicy};
use gantry_core::{Error, Result};
use tracing::warn;

/// What is to be different; what is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateContainer {
    pub memory: Option<i64>,
    pub memory_swap: Option<i64>,
    pub memory_reservation: Option<i64>,
    pub nano_cpus: Option<i64>,
    pub cpu_shares: Option<i64>,
    pub cpu_period: Option<i64>,
    pub cpu_quota: Option<i64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    pub pids_limit: Option<i64>,
    pub cpu_rt_period: Option<i64>,
    pub cpu_rt_runtime: Option<i64>,
    pub blkio_weight: Option<u16>,
    pub restart: Option<RestartPolicy>,
}

impl UpdateContainer {
    fn is_limits(&self) -> bool {
        *self
            != Self {
                restart: self.restart.clone(),
                ..Self::default()
            }
    }

    fn apply(&self, host: &mut HostConfig) {
        fn set<T: Clone>(to: &mut T, from: Option<&T>) {
            if let Some(from) = from {
                *to = from.clone();
            }
        }
        set(&mut host.memory, self.memory.as_ref());
        set(&mut host.memory_swap, self.memory_swap.as_ref());
        set(&mut host.memory_reservation, self.memory_reservation.as_ref());
        set(&mut host.nano_cpus, self.nano_cpus.as_ref());
        set(&mut host.cpu_shares, self.cpu_shares.as_ref());
        set(&mut host.cpu_period, self.cpu_period.as_ref());
        set(&mut host.cpu_quota, self.cpu_quota.as_ref());
        set(&mut host.cpuset_cpus, self.cpuset_cpus.as_ref());
        set(&mut host.cpuset_mems, self.cpuset_mems.as_ref());
        set(&mut host.pids_limit, self.pids_limit.as_ref());
        set(&mut host.cpu_rt_period, self.cpu_rt_period.as_ref());
        set(&mut host.cpu_rt_runtime, self.cpu_rt_runtime.as_ref());
        set(&mut host.blkio.weight, self.blkio_weight.as_ref());
        set(&mut host.restart, self.restart.as_ref());
    }
}

impl Engine {
    /// Answers warnings.
    pub async fn update(&self, name: &str, update: UpdateContainer) -> Result<Vec<String>> {
        let keeper = self.find(name)?;
        let engine = self.clone();
        crate::finish(async move {
            let refused = |error: Error| error.context(format!("Cannot update container {}", keeper.id()));
            let old = keeper.record();
            let mut record = ContainerRecord::clone(&old);
            update.apply(&mut record.host);
            check(&old, &record, &update).map_err(refused)?;
            let (resources, warnings) = host::resources(&engine.context, &record).map_err(refused)?;
            // Written down first: the next start has it, whatever becomes of this run.
            let (context, wanted) = (engine.context.clone(), record.clone());
            let told = vec![engine.context.container_event(&record, "update", Default::default())];
            let (written, told) = blocking(move || records::set_host(&context, &wanted, told)).await?;
            keeper.set_record(written);
            if update.is_limits() && keeper.state().is_running() {
                let shim = keeper.shim().await?;
                if let Err(error) = shim.update(resources).await.map_err(Error::from) {
                    let (context, back) = (engine.context.clone(), ContainerRecord::clone(&old));
                    match blocking(move || records::set_host(&context, &back, Vec::new())).await {
                        Ok((record, _)) => keeper.set_record(record),
                        Err(error) => {
                            warn!(container = %keeper.id(), err = %error, "limits that were refused stay written down")
                        }
                    }
                    return Err(refused(error));
                }
            }
            engine.context.bus.publish(told);
            Ok(warnings)
        })
        .await
    }
}

fn check(old: &ContainerRecord, new: &ContainerRecord, update: &UpdateContainer) -> Result<()> {
    let conflict = |text: &str| Err(Error::conflict(text));
    let wants_restart = update
        .restart
        .as_ref()
        .is_some_and(|policy| policy.name != RestartName::No);
    if old.host.auto_remove && wants_restart {
        return conflict("Restart policy cannot be updated because AutoRemove is enabled for the container");
    }
    // Who was limited without a word about swap has twice as much of both.
    let swap = match new.host.memory_swap {
        0 => old.host.memory.saturating_mul(2),
        swap => swap,
    };
    let memory = new.host.memory;
    if update.memory.is_some() && update.memory_swap.is_none() && swap > 0 && memory > swap {
        return conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        );
    }
    let quota = |host: &HostConfig| host.cpu_period > 0 || host.cpu_quota > 0;
    if update.nano_cpus.is_some_and(|cpus| cpus > 0) && quota(&old.host) {
        return conflict("Conflicting options: Nano CPUs cannot be updated as CPU Period/Quota has already been set");
    }
    let asks_quota = update.cpu_period.is_some_and(|it| it > 0) || update.cpu_quota.is_some_and(|it| it > 0);
    if asks_quota && old.host.nano_cpus > 0 {
        return conflict("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set");
    }
    Ok(())
}
