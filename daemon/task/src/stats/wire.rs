//! The metrics a shim answers: containerd's messages for cgroup version 1 and 2.

use super::{Stats, read};
use gantry_proto_shim::protobuf::{Message, well_known_types::any::Any};
use gantry_proto_shim::{METRICS_V1_TYPE, METRICS_V2_TYPE, cgroups, cgroups_v2, is_type};

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
        read::finish(&mut stats);
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
        self.memory.oom_kills = wire.memory_events.oom_kill;
        self.memory.failures = wire.memory_events.max;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_and_nonsense() {
        let mut one = cgroups::metrics::Metrics::new();
        one.cpu.mut_or_insert_default().usage.mut_or_insert_default().total = 5;
        one.memory.mut_or_insert_default().usage.mut_or_insert_default().usage = 6;
        let any = gantry_proto_shim::any(METRICS_V1_TYPE, one.write_to_bytes().unwrap());
        let stats = Stats::from_any(&any).unwrap();
        assert_eq!((stats.cpu.total, stats.memory.usage), (5, 6));

        let mut two = cgroups_v2::metrics::Metrics::new();
        two.cpu.mut_or_insert_default().usage_usec = 5;
        let any = gantry_proto_shim::any(METRICS_V2_TYPE, two.write_to_bytes().unwrap());
        assert_eq!(Stats::from_any(&any).unwrap().cpu.total, 5000);

        let any = gantry_proto_shim::any("other", Vec::new());
        assert!(Stats::from_any(&any).unwrap_err().contains("other"));
    }
}
