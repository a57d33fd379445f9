//! `GET /containers/{name}/stats`.

use crate::answer::{self, Answer, Failure};
use crate::call::Call;
use crate::go_json;
use crate::time;
use bytes::Bytes;
use futures::StreamExt;
use gantry_core::spec::Cgroup;
use gantry_engine::{Sample, Traffic};
use gantry_task::stats::{BlkioEntry, Stats};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::SystemTime;
use tokio_stream::wrappers::ReceiverStream;

#[derive(Serialize)]
struct Shown {
    read: String,
    preread: String,
    pids_stats: Value,
    blkio_stats: Blkio,
    num_procs: u32,
    storage_stats: Map<String, Value>,
    cpu_stats: Cpu,
    precpu_stats: Cpu,
    memory_stats: Memory,
    name: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    networks: Option<BTreeMap<String, Interface>>,
}

#[derive(Clone, Serialize)]
struct Interface {
    rx_bytes: u64,
    rx_packets: u64,
    rx_errors: u64,
    rx_dropped: u64,
    tx_bytes: u64,
    tx_packets: u64,
    tx_errors: u64,
    tx_dropped: u64,
}

/// Only bytes are counted. What is not is empty in the first version of cgroups, and nothing in the second and where nothing runs.
#[derive(Serialize)]
struct Blkio {
    io_service_bytes_recursive: Option<Vec<Value>>,
    io_serviced_recursive: Option<Vec<Value>>,
    io_queue_recursive: Option<Vec<Value>>,
    io_service_time_recursive: Option<Vec<Value>>,
    io_wait_time_recursive: Option<Vec<Value>>,
    io_merged_recursive: Option<Vec<Value>>,
    io_time_recursive: Option<Vec<Value>>,
    sectors_recursive: Option<Vec<Value>>,
}

#[derive(Clone, Default, Serialize)]
struct Cpu {
    cpu_usage: Usage,
    #[serde(skip_serializing_if = "zero")]
    system_cpu_usage: u64,
    #[serde(skip_serializing_if = "zero")]
    online_cpus: u64,
    throttling_data: Throttling,
}

#[derive(Clone, Default, Serialize)]
struct Usage {
    total_usage: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_usage: Vec<u64>,
    usage_in_kernelmode: u64,
    usage_in_usermode: u64,
}

#[derive(Clone, Default, Serialize)]
struct Throttling {
    periods: u64,
    throttled_periods: u64,
    throttled_time: u64,
}

#[derive(Default, Serialize)]
struct Memory {
    #[serde(skip_serializing_if = "zero")]
    usage: u64,
    #[serde(skip_serializing_if = "zero")]
    max_usage: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    stats: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "zero")]
    failcnt: u64,
    #[serde(skip_serializing_if = "zero")]
    limit: u64,
}

fn zero(number: &u64) -> bool {
    *number == 0
}

/// What was used up to the sample before.
type Former = Option<(SystemTime, Cpu)>;

pub async fn stats(call: Call) -> Answer {
    let stream = call.query.flag_or("stream", true);
    let once = call.query.flag("one-shot");
    if stream && once {
        return Err(Failure::bad("cannot have stream=true and one-shot=true"));
    }
    let (_, state) = call.engine().look(call.name())?;
    let unified = call.engine().facts().cgroup == Cgroup::V2;
    let mut samples = call.engine().stats(call.name(), stream || !once).await?;
    if stream {
        let mut former: Former = None;
        let lines = ReceiverStream::new(samples)
            .map(move |sample| Ok(Bytes::from(go_json::line(&shown(sample, &mut former, unified)))));
        return Ok(answer::stream(answer::JSON, lines));
    }
    let mut former: Former = None;
    let gone = || {
        Failure::new(
            http::StatusCode::NOT_FOUND,
            format!("No such container: {}", call.name()),
        )
    };
    let mut answered = shown(samples.recv().await.ok_or_else(gone)?, &mut former, unified);
    if !once && state.is_running() {
        // One that can be told from the one before.
        answered = shown(samples.recv().await.ok_or_else(gone)?, &mut former, unified);
    }
    answer::ok(&answered)
}

fn shown(sample: Sample, former: &mut Former, unified: bool) -> Shown {
    let (preread, precpu) = former
        .take()
        .map_or((None, Cpu::default()), |(at, cpu)| (Some(at), cpu));
    let name = format!("/{}", sample.name);
    let Some(stats) = sample.stats else {
        return Shown {
            read: time::ZERO.to_owned(),
            preread: time::ZERO.to_owned(),
            pids_stats: json!({}),
            blkio_stats: blkio(None, unified),
            num_procs: 0,
            storage_stats: Map::new(),
            cpu_stats: Cpu::default(),
            precpu_stats: Cpu::default(),
            memory_stats: Memory::default(),
            name,
            id: sample.id,
            networks: None,
        };
    };
    let cpu = cpu(&stats);
    *former = Some((sample.read, cpu.clone()));
    Shown {
        read: time::nano(sample.read),
        preread: time::nano_or_zero(preread),
        pids_stats: match stats.pids.limit {
            Some(limit) => json!({ "current": stats.pids.current, "limit": limit }),
            None => json!({ "current": stats.pids.current }),
        },
        blkio_stats: blkio(Some(&stats.blkio), unified),
        num_procs: 0,
        storage_stats: Map::new(),
        cpu_stats: cpu,
        precpu_stats: precpu,
        memory_stats: Memory {
            usage: stats.memory.usage,
            max_usage: stats.memory.max_usage.unwrap_or(0),
            stats: stats.memory.detail.clone(),
            failcnt: stats.memory.failures,
            limit: stats.memory.limit,
        },
        name,
        id: sample.id,
        networks: networks(&sample.networks),
    }
}

fn networks(traffic: &[(String, Traffic)]) -> Option<BTreeMap<String, Interface>> {
    let one = |traffic: &Traffic| Interface {
        rx_bytes: traffic.rx_bytes,
        rx_packets: traffic.rx_packets,
        rx_errors: traffic.rx_errors,
        rx_dropped: traffic.rx_dropped,
        tx_bytes: traffic.tx_bytes,
        tx_packets: traffic.tx_packets,
        tx_errors: traffic.tx_errors,
        tx_dropped: traffic.tx_dropped,
    };
    let shown: BTreeMap<String, Interface> = traffic
        .iter()
        .map(|(name, traffic)| (name.clone(), one(traffic)))
        .collect();
    Some(shown).filter(|shown| !shown.is_empty())
}

fn cpu(stats: &Stats) -> Cpu {
    Cpu {
        cpu_usage: Usage {
            total_usage: stats.cpu.total,
            percpu_usage: stats.cpu.per_cpu.clone(),
            usage_in_kernelmode: stats.cpu.kernel,
            usage_in_usermode: stats.cpu.user,
        },
        system_cpu_usage: stats.cpu.system,
        online_cpus: stats.cpu.online_cpus.into(),
        throttling_data: Throttling {
            periods: stats.cpu.periods,
            throttled_periods: stats.cpu.throttled_periods,
            throttled_time: stats.cpu.throttled,
        },
    }
}

fn blkio(moved: Option<&Vec<BlkioEntry>>, unified: bool) -> Blkio {
    let moved = moved.filter(|entries| !unified || !entries.is_empty());
    let one = |entry: &BlkioEntry| json!({ "major": entry.major, "minor": entry.minor, "op": entry.op, "value": entry.value });
    let none = || moved.filter(|_| !unified).map(|_| Vec::new());
    Blkio {
        io_service_bytes_recursive: moved.map(|entries| entries.iter().map(one).collect()),
        io_serviced_recursive: none(),
        io_queue_recursive: none(),
        io_service_time_recursive: none(),
        io_wait_time_recursive: none(),
        io_merged_recursive: none(),
        io_time_recursive: none(),
        sectors_recursive: none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_counted_is_nothing_or_empty() {
        let shown = |moved: Option<&Vec<BlkioEntry>>, unified| {
            let all = blkio(moved, unified);
            (
                all.io_service_bytes_recursive.is_some(),
                all.sectors_recursive.is_some(),
            )
        };
        assert_eq!(shown(Some(&Vec::new()), false), (true, true));
        assert_eq!(shown(Some(&Vec::new()), true), (false, false));
        let entry = BlkioEntry {
            major: 8,
            minor: 0,
            op: "read",
            value: 1,
        };
        assert_eq!(shown(Some(&vec![entry]), true), (true, false));
        assert_eq!(shown(None, false), (false, false));
    }
}
