//! What went through a container's interfaces, as the kernel counts it (`/proc/<pid>/net/dev`, proc(5)).

use std::collections::BTreeMap;

/// Counts of one interface since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub received: Flow,
    pub sent: Flow,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
}

/// By interface, the loopback left out; nothing where the process is gone.
pub(super) fn of(pid: u32) -> BTreeMap<String, Traffic> {
    read(&std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default())
}

fn read(text: &str) -> BTreeMap<String, Traffic> {
    let one = |line: &str| {
        let (name, counts) = line.split_once(':')?;
        let counts: Vec<u64> = counts
            .split_ascii_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        let flow = |at: usize| {
            Some(Flow {
                bytes: *counts.get(at)?,
                packets: *counts.get(at + 1)?,
                errors: *counts.get(at + 2)?,
                dropped: *counts.get(at + 3)?,
            })
        };
        let traffic = Traffic {
            received: flow(0)?,
            sent: flow(8)?,
        };
        Some((name.trim().to_owned(), traffic))
    };
    text.lines().filter_map(one).filter(|(name, _)| name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read() {
        let text = "Inter-|   Receive |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    5    1    0    0    0     0          0         0       5       1    0    0    0     0       0          0
  eth0:  732    8    1    2    0     0          0         0     90       3    4    5    0     0       0          0
";
        let found = read(text);
        assert_eq!(found.len(), 1);
        let eth0 = found["eth0"];
        assert_eq!((eth0.received.bytes, eth0.received.dropped), (732, 2));
        assert_eq!((eth0.sent.bytes, eth0.sent.errors, eth0.sent.dropped), (90, 4, 5));
    }
}
