//! Resource use, by plain reads of the container's cgroups, in containerd's messages.

use crate::cgroup::{Cgroups, Dir, Version, read_key};
use gantry_proto_shim::{
    METRICS_V1_TYPE, METRICS_V2_TYPE, any,
    cgroups::metrics as v1,
    cgroups_v2::metrics as v2,
    protobuf::{Message, MessageField, well_known_types::any::Any},
};
use std::{collections::HashMap, fs, path::Path};

/// Reads everything there is now.
pub fn read(cgroups: &Cgroups) -> Any {
    let is_v1 = cgroups.0.iter().any(|dir| {
        dir.version == Version::One
            && dir
                .controllers
                .split(',')
                .any(|one| one == "memory" || one == "cpuacct")
    });
    if is_v1 {
        any(METRICS_V1_TYPE, read_v1(cgroups).write_to_bytes().unwrap_or_default())
    } else {
        let metrics = cgroups.unified().map(read_v2).unwrap_or_default();
        any(METRICS_V2_TYPE, metrics.write_to_bytes().unwrap_or_default())
    }
}

fn number(dir: &Path, file: &str) -> u64 {
    let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
    let text = text.trim();
    if text == "max" {
        u64::MAX
    } else {
        text.parse().unwrap_or(0)
    }
}

fn table(dir: &Path, file: &str) -> HashMap<String, u64> {
    let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            line.split_once(' ')
                .and_then(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?)))
        })
        .collect()
}

fn read_v1(cgroups: &Cgroups) -> v1::Metrics {
    let of = |name: &str| {
        cgroups
            .controller(name)
            .filter(|dir| dir.version == Version::One)
            .map(|dir| dir.path.as_path())
    };
    v1::Metrics {
        pids: of("pids").map(pids_v1).into(),
        cpu: MessageField::some(cpu_v1(of("cpuacct"), of("cpu"))),
        memory: of("memory").map(memory_v1).into(),
        blkio: of("blkio").map(blkio_v1).into(),
        memory_oom_control: of("memory").map(oom_v1).into(),
        ..Default::default()
    }
}

fn pids_v1(dir: &Path) -> v1::PidsStat {
    let limit = number(dir, "pids.max");
    v1::PidsStat {
        current: number(dir, "pids.current"),
        limit: if limit == u64::MAX { 0 } else { limit },
        ..Default::default()
    }
}

fn cpu_v1(cpuacct: Option<&Path>, cpu: Option<&Path>) -> v1::CPUStat {
    let usage = cpuacct.map(|dir| {
        let per_cpu = fs::read_to_string(dir.join("cpuacct.usage_percpu")).unwrap_or_default();
        v1::CPUUsage {
            total: number(dir, "cpuacct.usage"),
            user: number(dir, "cpuacct.usage_user"),
            kernel: number(dir, "cpuacct.usage_sys"),
            per_cpu: per_cpu.split_whitespace().filter_map(|one| one.parse().ok()).collect(),
            ..Default::default()
        }
    });
    let throttling = cpu.map(|dir| {
        let stat = table(dir, "cpu.stat");
        let get = |key: &str| stat.get(key).copied().unwrap_or(0);
        v1::Throttle {
            periods: get("nr_periods"),
            throttled_periods: get("nr_throttled"),
            throttled_time: get("throttled_time"),
            ..Default::default()
        }
    });
    v1::CPUStat {
        usage: usage.into(),
        throttling: throttling.into(),
        ..Default::default()
    }
}

fn memory_v1(dir: &Path) -> v1::MemoryStat {
    let stat = table(dir, "memory.stat");
    let get = |key: &str| stat.get(key).copied().unwrap_or(0);
    let entry = |module: &str| v1::MemoryEntry {
        limit: number(dir, &format!("memory.{module}limit_in_bytes")),
        usage: number(dir, &format!("memory.{module}usage_in_bytes")),
        max: number(dir, &format!("memory.{module}max_usage_in_bytes")),
        failcnt: number(dir, &format!("memory.{module}failcnt")),
        ..Default::default()
    };
    v1::MemoryStat {
        cache: get("cache"),
        rss: get("rss"),
        rss_huge: get("rss_huge"),
        mapped_file: get("mapped_file"),
        dirty: get("dirty"),
        writeback: get("writeback"),
        pg_pg_in: get("pgpgin"),
        pg_pg_out: get("pgpgout"),
        pg_fault: get("pgfault"),
        pg_maj_fault: get("pgmajfault"),
        inactive_anon: get("inactive_anon"),
        active_anon: get("active_anon"),
        inactive_file: get("inactive_file"),
        active_file: get("active_file"),
        unevictable: get("unevictable"),
        hierarchical_memory_limit: get("hierarchical_memory_limit"),
        hierarchical_swap_limit: get("hierarchical_memsw_limit"),
        total_cache: get("total_cache"),
        total_rss: get("total_rss"),
        total_rss_huge: get("total_rss_huge"),
        total_mapped_file: get("total_mapped_file"),
        total_dirty: get("total_dirty"),
        total_writeback: get("total_writeback"),
        total_pg_pg_in: get("total_pgpgin"),
        total_pg_pg_out: get("total_pgpgout"),
        total_pg_fault: get("total_pgfault"),
        total_pg_maj_fault: get("total_pgmajfault"),
        total_inactive_anon: get("total_inactive_anon"),
        total_active_anon: get("total_active_anon"),
        total_inactive_file: get("total_inactive_file"),
        total_active_file: get("total_active_file"),
        total_unevictable: get("total_unevictable"),
        usage: MessageField::some(entry("")),
        swap: MessageField::some(entry("memsw.")),
        kernel: MessageField::some(entry("kmem.")),
        kernel_tcp: MessageField::some(entry("kmem.tcp.")),
        ..Default::default()
    }
}

fn oom_v1(dir: &Path) -> v1::MemoryOomControl {
    let stat = table(dir, "memory.oom_control");
    let get = |key: &str| stat.get(key).copied().unwrap_or(0);
    v1::MemoryOomControl {
        oom_kill_disable: get("oom_kill_disable"),
        under_oom: get("under_oom"),
        oom_kill: get("oom_kill"),
        ..Default::default()
    }
}

fn blkio_v1(dir: &Path) -> v1::BlkIOStat {
    let entries = |file: &str| {
        let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
        let parse = |line: &str| {
            let mut words = line.split_whitespace();
            let (major, minor) = words.next()?.split_once(':')?;
            let (op, value) = (words.next()?, words.next()?);
            Some(v1::BlkIOEntry {
                op: op.to_owned(),
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
                value: value.parse().ok()?,
                ..Default::default()
            })
        };
        text.lines().filter_map(parse).collect()
    };
    v1::BlkIOStat {
        io_service_bytes_recursive: entries("blkio.throttle.io_service_bytes_recursive"),
        io_serviced_recursive: entries("blkio.throttle.io_serviced_recursive"),
        ..Default::default()
    }
}

fn read_v2(dir: &Dir) -> v2::Metrics {
    let path = &dir.path;
    let memory = table(path, "memory.stat");
    let cpu = table(path, "cpu.stat");
    let get = |from: &HashMap<String, u64>, key: &str| from.get(key).copied().unwrap_or(0);
    let events = path.join("memory.events");
    let event = |key: &str| read_key(&events, key).unwrap_or(0);
    v2::Metrics {
        pids: MessageField::some(v2::PidsStat {
            current: number(path, "pids.current"),
            limit: number(path, "pids.max"),
            ..Default::default()
        }),
        cpu: MessageField::some(v2::CPUStat {
            usage_usec: get(&cpu, "usage_usec"),
            user_usec: get(&cpu, "user_usec"),
            system_usec: get(&cpu, "system_usec"),
            nr_periods: get(&cpu, "nr_periods"),
            nr_throttled: get(&cpu, "nr_throttled"),
            throttled_usec: get(&cpu, "throttled_usec"),
            ..Default::default()
        }),
        memory: MessageField::some(v2::MemoryStat {
            anon: get(&memory, "anon"),
            file: get(&memory, "file"),
            kernel_stack: get(&memory, "kernel_stack"),
            slab: get(&memory, "slab"),
            sock: get(&memory, "sock"),
            shmem: get(&memory, "shmem"),
            file_mapped: get(&memory, "file_mapped"),
            file_dirty: get(&memory, "file_dirty"),
            file_writeback: get(&memory, "file_writeback"),
            inactive_anon: get(&memory, "inactive_anon"),
            active_anon: get(&memory, "active_anon"),
            inactive_file: get(&memory, "inactive_file"),
            active_file: get(&memory, "active_file"),
            unevictable: get(&memory, "unevictable"),
            pgfault: get(&memory, "pgfault"),
            pgmajfault: get(&memory, "pgmajfault"),
            anon_thp: get(&memory, "anon_thp"),
            slab_reclaimable: get(&memory, "slab_reclaimable"),
            slab_unreclaimable: get(&memory, "slab_unreclaimable"),
            workingset_refault: get(&memory, "workingset_refault"),
            workingset_activate: get(&memory, "workingset_activate"),
            workingset_nodereclaim: get(&memory, "workingset_nodereclaim"),
            pgrefill: get(&memory, "pgrefill"),
            pgscan: get(&memory, "pgscan"),
            pgsteal: get(&memory, "pgsteal"),
            pgactivate: get(&memory, "pgactivate"),
            pgdeactivate: get(&memory, "pgdeactivate"),
            pglazyfree: get(&memory, "pglazyfree"),
            pglazyfreed: get(&memory, "pglazyfreed"),
            thp_fault_alloc: get(&memory, "thp_fault_alloc"),
            thp_collapse_alloc: get(&memory, "thp_collapse_alloc"),
            usage: number(path, "memory.current"),
            usage_limit: number(path, "memory.max"),
            swap_usage: number(path, "memory.swap.current"),
            swap_limit: number(path, "memory.swap.max"),
            ..Default::default()
        }),
        io: MessageField::some(io_v2(path)),
        memory_events: MessageField::some(v2::MemoryEvents {
            low: event("low"),
            high: event("high"),
            max: event("max"),
            oom: event("oom"),
            oom_kill: event("oom_kill"),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn io_v2(path: &Path) -> v2::IOStat {
    let text = fs::read_to_string(path.join("io.stat")).unwrap_or_default();
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let mut entry = v2::IOEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            ..Default::default()
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let value = value.parse().unwrap_or(0);
            match key {
                "rbytes" => entry.rbytes = value,
                "wbytes" => entry.wbytes = value,
                "rios" => entry.rios = value,
                "wios" => entry.wios = value,
                _ => {}
            }
        }
        Some(entry)
    };
    v2::IOStat {
        usage: text.lines().filter_map(parse).collect(),
        ..Default::default()
    }
}
