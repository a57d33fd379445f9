//! The metrics a shim answers: containerd's messages for cgroup version 1 and 2.

use super::{Stats, host};
use gantry_proto_shim::protobuf::{Message, well_known_types::any::Any};
use gantry_proto_shim::{METRICS_V1_TYPE, METRICS_V2_TYPE, cgroups, cgroups_v2, is_type};
use std::collections::BTreeMap;

impl Stats {
    /// Decodes an answer; the error says what was wrong with it.
    pub(crate) fn from_any(any: &Any) -> Result<Self, String> {
        let mut stats = Self::empty();
        if is_type(any, METRICS_V1_TYPE) {
            let wire = Message::parse_from_bytes(&any.value).map_err(|err| err.to_string())?;
            stats.take_v1(&wire);
        } else if is_type(any, METRICS_V2_TYPE) {
            let wire = Message::parse_from_bytes(&any.value).map_err(|err| err.to_string())?;
            stats.take_v2(&wire);
        } else {
            return Err(format!("statistics of type {:?} are not known", any.type_url));
        }
        host::finish(&mut stats);
        Ok(stats)
    }

    fn take_v1(&mut self, wire: &cgroups::metrics::Metrics) {
        let (usage, throttling) = (&wire.cpu.usage, &wire.cpu.throttling);
        (self.cpu.total, self.cpu.user, self.cpu.kernel) = (usage.total, usage.user, usage.kernel);
        self.cpu.per_cpu = usage.per_cpu.clone();
        self.cpu.periods = throttling.periods;
        self.cpu.throttled_periods = throttling.throttled_periods;
        self.cpu.throttled = throttling.throttled_time;
        self.memory.usage = wire.memory.usage.usage;
        self.memory.limit = wire.memory.usage.limit;
        self.memory.max_usage = Some(wire.memory.usage.max);
        self.memory.failures = wire.memory.usage.failcnt;
        self.memory.inactive_file = wire.memory.total_inactive_file;
        self.memory.detail = detail_v1(&wire.memory);
        self.memory.oom_kills = wire.memory_oom_control.oom_kill;
        self.pids.current = wire.pids.current;
        self.pids.limit = limit(wire.pids.limit);
        for entry in &wire.blkio.io_service_bytes_recursive {
            self.push_blkio(entry.major, entry.minor, &entry.op, entry.value);
        }
    }

    fn take_v2(&mut self, wire: &cgroups_v2::metrics::Metrics) {
        const MICROSECOND: u64 = 1000;
        self.cpu.total = wire.cpu.usage_usec * MICROSECOND;
        self.cpu.user = wire.cpu.user_usec * MICROSECOND;
        self.cpu.kernel = wire.cpu.system_usec * MICROSECOND;
        self.cpu.periods = wire.cpu.nr_periods;
        self.cpu.throttled_periods = wire.cpu.nr_throttled;
        self.cpu.throttled = wire.cpu.throttled_usec * MICROSECOND;
        self.memory.usage = wire.memory.usage;
        self.memory.limit = wire.memory.usage_limit;
        self.memory.inactive_file = wire.memory.inactive_file;
        self.memory.detail = detail_v2(&wire.memory);
        self.memory.oom_kills = wire.memory_events.oom_kill;
        self.memory.failures = wire.memory_events.oom;
        self.pids.current = wire.pids.current;
        self.pids.limit = limit(wire.pids.limit);
        for entry in &wire.io.usage {
            self.push_blkio(entry.major, entry.minor, "read", entry.rbytes);
            self.push_blkio(entry.major, entry.minor, "write", entry.wbytes);
        }
    }
}

/// Zero and the largest number both stand for none.
fn limit(value: u64) -> Option<u64> {
    (value != 0 && value != u64::MAX).then_some(value)
}

/// The lines of memory.stat, by the kernel's names.
fn detail_v1(memory: &cgroups::metrics::MemoryStat) -> BTreeMap<String, u64> {
    named(&[
        ("cache", memory.cache),
        ("rss", memory.rss),
        ("rss_huge", memory.rss_huge),
        ("mapped_file", memory.mapped_file),
        ("dirty", memory.dirty),
        ("writeback", memory.writeback),
        ("pgpgin", memory.pg_pg_in),
        ("pgpgout", memory.pg_pg_out),
        ("pgfault", memory.pg_fault),
        ("pgmajfault", memory.pg_maj_fault),
        ("inactive_anon", memory.inactive_anon),
        ("active_anon", memory.active_anon),
        ("inactive_file", memory.inactive_file),
        ("active_file", memory.active_file),
        ("unevictable", memory.unevictable),
        ("hierarchical_memory_limit", memory.hierarchical_memory_limit),
        ("hierarchical_memsw_limit", memory.hierarchical_swap_limit),
        ("total_cache", memory.total_cache),
        ("total_rss", memory.total_rss),
        ("total_rss_huge", memory.total_rss_huge),
        ("total_mapped_file", memory.total_mapped_file),
        ("total_dirty", memory.total_dirty),
        ("total_writeback", memory.total_writeback),
        ("total_pgpgin", memory.total_pg_pg_in),
        ("total_pgpgout", memory.total_pg_pg_out),
        ("total_pgfault", memory.total_pg_fault),
        ("total_pgmajfault", memory.total_pg_maj_fault),
        ("total_inactive_anon", memory.total_inactive_anon),
        ("total_active_anon", memory.total_active_anon),
        ("total_inactive_file", memory.total_inactive_file),
        ("total_active_file", memory.total_active_file),
        ("total_unevictable", memory.total_unevictable),
    ])
}

/// The same of version 2.
fn detail_v2(memory: &cgroups_v2::metrics::MemoryStat) -> BTreeMap<String, u64> {
    named(&[
        ("anon", memory.anon),
        ("file", memory.file),
        ("kernel_stack", memory.kernel_stack),
        ("slab", memory.slab),
        ("sock", memory.sock),
        ("shmem", memory.shmem),
        ("file_mapped", memory.file_mapped),
        ("file_dirty", memory.file_dirty),
        ("file_writeback", memory.file_writeback),
        ("anon_thp", memory.anon_thp),
        ("inactive_anon", memory.inactive_anon),
        ("active_anon", memory.active_anon),
        ("inactive_file", memory.inactive_file),
        ("active_file", memory.active_file),
        ("unevictable", memory.unevictable),
        ("slab_reclaimable", memory.slab_reclaimable),
        ("slab_unreclaimable", memory.slab_unreclaimable),
        ("pgfault", memory.pgfault),
        ("pgmajfault", memory.pgmajfault),
        ("workingset_refault", memory.workingset_refault),
        ("workingset_activate", memory.workingset_activate),
        ("workingset_nodereclaim", memory.workingset_nodereclaim),
        ("pgrefill", memory.pgrefill),
        ("pgscan", memory.pgscan),
        ("pgsteal", memory.pgsteal),
        ("pgactivate", memory.pgactivate),
        ("pgdeactivate", memory.pgdeactivate),
        ("pglazyfree", memory.pglazyfree),
        ("pglazyfreed", memory.pglazyfreed),
        ("thp_fault_alloc", memory.thp_fault_alloc),
        ("thp_collapse_alloc", memory.thp_collapse_alloc),
    ])
}

fn named(lines: &[(&str, u64)]) -> BTreeMap<String, u64> {
    lines.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_and_nonsense() {
        let mut one = cgroups::metrics::Metrics::new();
        one.cpu.mut_or_insert_default().usage.mut_or_insert_default().total = 5;
        one.memory.mut_or_insert_default().usage.mut_or_insert_default().usage = 6;
        one.memory.mut_or_insert_default().total_inactive_file = 4;
        let any = gantry_proto_shim::any(METRICS_V1_TYPE, one.write_to_bytes().unwrap());
        let stats = Stats::from_any(&any).unwrap();
        assert_eq!((stats.cpu.total, stats.memory.usage), (5, 6));
        assert_eq!(
            (stats.memory.detail["total_inactive_file"], stats.memory.inactive_file),
            (4, 4)
        );

        let mut two = cgroups_v2::metrics::Metrics::new();
        two.cpu.mut_or_insert_default().usage_usec = 5;
        let any = gantry_proto_shim::any(METRICS_V2_TYPE, two.write_to_bytes().unwrap());
        let stats = Stats::from_any(&any).unwrap();
        assert_eq!(stats.cpu.total, 5000);
        assert!(stats.memory.detail.contains_key("inactive_file") && !stats.memory.detail.contains_key("cache"));

        let any = gantry_proto_shim::any("other", Vec::new());
        assert!(Stats::from_any(&any).unwrap_err().contains("other"));
    }
}
