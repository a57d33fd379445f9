//! `update`.

use gantry_proto::gantry::v1 as pb;

use super::{Outcome, each};
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::{opts, out};

pub(crate) async fn run(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    if parsed.given.is_empty() {
        return Err(Error::refused(
            "you must provide one or more flags when using this command",
        ));
    }
    let text = |name: &str| parsed.text(name).map(str::to_owned);
    let request = pb::UpdateContainerRequest {
        container: String::new(),
        memory: parsed.bytes("memory"),
        memory_swap: parsed.bytes("memory-swap"),
        memory_reservation: parsed.bytes("memory-reservation"),
        nano_cpus: parsed
            .text("cpus")
            .map(opts::nano_cpus)
            .transpose()
            .map_err(Error::refused)?,
        cpu_shares: parsed.int("cpu-shares"),
        cpu_period: parsed.int("cpu-period"),
        cpu_quota: parsed.int("cpu-quota"),
        cpuset_cpus: text("cpuset-cpus"),
        cpuset_mems: text("cpuset-mems"),
        pids_limit: parsed.int("pids-limit"),
        cpu_rt_period: parsed.int("cpu-rt-period"),
        cpu_rt_runtime: parsed.int("cpu-rt-runtime"),
        blkio_weight: parsed
            .int("blkio-weight")
            .map(opts::weight)
            .transpose()
            .map_err(Error::refused)?,
        restart: parsed
            .text("restart")
            .map(opts::restart)
            .transpose()
            .map_err(Error::refused)?,
    };
    each(&parsed.args, |container| {
        let (daemon, request) = (
            daemon.clone(),
            pb::UpdateContainerRequest {
                container,
                ..request.clone()
            },
        );
        async move {
            let answer = daemon.take(daemon.containers().update(request).await)?;
            answer.warnings.iter().for_each(out::warn);
            Ok(Outcome::Done)
        }
    })
    .await
}
