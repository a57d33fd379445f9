//! Update: other limits and another restart policy, for a container that runs too.

use crate::context::Context;
use crate::events::Event;
use crate::gate::blocking;
use crate::keeper::{FINDING, Keeper, View};
use crate::{Engine, host, records};
use gantry_core::container::{ContainerRecord, HostConfig, RestartName, RestartPolicy};
use gantry_core::lifecycle::State;
use gantry_core::{Error, Result};
use std::sync::Arc;
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

    /// Without what is 0 and then, as Docker has it, not given: nothing can be told to the kernel for it.
    fn given(self) -> Self {
        Self {
            cpu_rt_period: self.cpu_rt_period.filter(|period| *period != 0),
            cpu_rt_runtime: self.cpu_rt_runtime.filter(|runtime| *runtime != 0),
            blkio_weight: self.blkio_weight.filter(|weight| *weight != 0),
            ..self
        }
    }

    /// What puts back what this changes.
    fn reversed(&self, before: &HostConfig) -> Self {
        fn back<T: Clone>(asked: Option<&T>, before: &T) -> Option<T> {
            asked.map(|_| before.clone())
        }
        Self {
            memory: back(self.memory.as_ref(), &before.memory),
            memory_swap: back(self.memory_swap.as_ref(), &before.memory_swap),
            memory_reservation: back(self.memory_reservation.as_ref(), &before.memory_reservation),
            nano_cpus: back(self.nano_cpus.as_ref(), &before.nano_cpus),
            cpu_shares: back(self.cpu_shares.as_ref(), &before.cpu_shares),
            cpu_period: back(self.cpu_period.as_ref(), &before.cpu_period),
            cpu_quota: back(self.cpu_quota.as_ref(), &before.cpu_quota),
            cpuset_cpus: back(self.cpuset_cpus.as_ref(), &before.cpuset_cpus),
            cpuset_mems: back(self.cpuset_mems.as_ref(), &before.cpuset_mems),
            pids_limit: back(self.pids_limit.as_ref(), &before.pids_limit),
            cpu_rt_period: back(self.cpu_rt_period.as_ref(), &before.cpu_rt_period),
            cpu_rt_runtime: back(self.cpu_rt_runtime.as_ref(), &before.cpu_rt_runtime),
            blkio_weight: back(self.blkio_weight.as_ref(), &before.blkio.weight),
            restart: back(self.restart.as_ref(), &before.restart),
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
        let update = update.given();
        let engine = self.clone();
        crate::finish(async move {
            let refused = |error: Error| error.context(format!("Cannot update container {}", keeper.id()));
            // What is written down and what is in force come in the same order.
            let _alone = keeper.limits.lock().await;
            // Written down first: the next start has it, whatever becomes of this run.
            let (context, wanted, subject) = (engine.context.clone(), update.clone(), keeper.clone());
            let (written, told) = blocking(move || write(&context, &subject, &wanted))
                .await
                .map_err(refused)?;
            if update.is_limits()
                && let Err(error) = set(&engine.context, &keeper, written.resources).await
            {
                let (context, back, subject) =
                    (engine.context.clone(), update.reversed(&written.before), keeper.clone());
                if let Err(error) = blocking(move || put_back(&context, &subject, &back)).await {
                    warn!(container = %keeper.id(), err = %error, "limits that were refused stay written down");
                }
                return Err(refused(error));
            }
            engine.context.bus.publish(told);
            Ok(written.warnings)
        })
        .await
    }
}

/// What an update has become.
struct Written {
    before: HostConfig,
    /// Limits as they are to be in force now.
    resources: Vec<u8>,
    warnings: Vec<String>,
}

fn write(context: &Context, keeper: &Keeper, update: &UpdateContainer) -> Result<(Written, Vec<Event>)> {
    let mut outcome = None;
    let (_, told) = records::change(context, keeper, |record| {
        let old = record.clone();
        update.apply(&mut record.host);
        check(&old, record, update)?;
        let (resources, warnings) = host::resources(context, record)?;
        outcome = Some(Written {
            before: old.host,
            resources,
            warnings,
        });
        Ok(vec![context.container_event(record, "update", Default::default())])
    })?;
    let written = outcome.ok_or_else(|| Error::internal("an update that was written has no outcome"))?;
    Ok((written, told))
}

fn put_back(context: &Context, keeper: &Keeper, former: &UpdateContainer) -> Result<()> {
    let put = records::change(context, keeper, |record| {
        former.apply(&mut record.host);
        Ok(Vec::new())
    });
    put.map(drop)
}

/// Has the limits of a container that runs, or is made ready to, be these.
async fn set(context: &Arc<Context>, keeper: &Arc<Keeper>, resources: Vec<u8>) -> Result<()> {
    // What is being made may have been given the former ones.
    let making = |view: &View| matches!(view.state, State::Preparing { .. });
    keeper.until(Some(FINDING), |view| !making(view)).await;
    let shim = match keeper.view() {
        view if view.state.is_running() => keeper.shim().await?,
        View {
            shim: Some(shim),
            state: State::Prepared { .. } | State::Starting { .. },
            ..
        } => shim,
        _ => return Ok(()),
    };
    let (worker, record) = (context.clone(), keeper.record());
    blocking(move || host::real_time::hand_out(&worker, &record)).await?;
    match shim.update(resources).await.map_err(Error::from) {
        // It has ended meanwhile.
        Err(_) if keeper.view().shim.is_none() => Ok(()),
        done => done,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_back_is_what_was_changed_and_nothing_else() {
        let before = HostConfig {
            memory: 1,
            cpu_shares: 2,
            ..HostConfig::default()
        };
        let update = UpdateContainer {
            memory: Some(10),
            cpuset_cpus: Some("0".to_owned()),
            ..UpdateContainer::default()
        };
        let mut host = before.clone();
        update.apply(&mut host);
        assert_eq!((host.memory, host.cpuset_cpus.as_str()), (10, "0"));
        // Another one's change in between stays.
        host.cpu_shares = 20;
        update.reversed(&before).apply(&mut host);
        let expected = HostConfig {
            cpu_shares: 20,
            ..before
        };
        assert_eq!(host, expected);
    }
}
