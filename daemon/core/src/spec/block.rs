//! Shares and bounds of block devices, checked against what the kernel has (P07): what cannot be had is refused when the container is
//! made, not when it is run.

use super::{Cgroup, HostFacts};
use crate::container::{BlockIo, DeviceRate};
use crate::{Error, Result};
use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice, LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder};
use std::collections::BTreeMap;

/// Docker's range of weights, which is that of cgroup v1.
const WEIGHTS: std::ops::RangeInclusive<u64> = 10..=1000;

/// Why a device cannot fail to be built.
const PRESET: &str = "every part of it has a preset";

/// One of the six things that can be asked, its name in messages, and the files that do it: of v1, of v2.
struct Means {
    what: &'static str,
    v1: &'static [&'static str],
    v2: &'static [&'static str],
}

const WEIGHT: Means = Means {
    what: "Block I/O weight",
    v1: &["blkio.bfq.weight", "blkio.weight"],
    v2: &["io.bfq.weight", "io.weight"],
};
const WEIGHT_DEVICE: Means = Means {
    what: "Block I/O weight_device",
    v1: &["blkio.bfq.weight_device", "blkio.weight_device"],
    v2: &["io.bfq.weight"],
};
const READ_BPS: Means = throttle("BPS Block I/O read limit", &["blkio.throttle.read_bps_device"]);
const WRITE_BPS: Means = throttle("BPS Block I/O write limit", &["blkio.throttle.write_bps_device"]);
const READ_IOPS: Means = throttle("IOPS Block read limit", &["blkio.throttle.read_iops_device"]);
const WRITE_IOPS: Means = throttle("IOPS Block write limit", &["blkio.throttle.write_iops_device"]);

const fn throttle(what: &'static str, v1: &'static [&'static str]) -> Means {
    Means {
        what,
        v1,
        v2: &["io.max"],
    }
}

impl Means {
    /// That the kernel has a file for it.
    fn check(&self, facts: &HostFacts) -> Result<()> {
        let files = match facts.cgroup {
            Cgroup::V1 | Cgroup::Hybrid => self.v1,
            Cgroup::V2 => self.v2,
        };
        if files.iter().any(|file| facts.block_files.contains(*file)) {
            return Ok(());
        }
        let there: Vec<&str> = facts.block_files.iter().map(String::as_str).collect();
        let there = match there.is_empty() {
            true => "it has nothing of the kind".to_owned(),
            false => format!("it has {}", there.join(", ")),
        };
        Err(Error::invalid(format!(
            "Your kernel does not support {} or the cgroup is not mounted: it takes {}, and {there}",
            self.what,
            files.join(" or ")
        )))
    }
}

/// What is asked for as the runtime takes it; `numbers` has the device of each path.
pub(super) fn limits(
    asked: &BlockIo,
    facts: &HostFacts,
    numbers: &BTreeMap<String, (i64, i64)>,
) -> Result<Option<LinuxBlockIo>> {
    if *asked == BlockIo::default() {
        return Ok(None);
    }
    let mut limits = LinuxBlockIo::default();
    if asked.weight != 0 {
        if !WEIGHTS.contains(&asked.weight.into()) {
            return Err(Error::invalid("Range of blkio weight is from 10 to 1000"));
        }
        WEIGHT.check(facts)?;
        limits.set_weight(Some(asked.weight));
    }
    if !asked.weight_devices.is_empty() {
        WEIGHT_DEVICE.check(facts)?;
        let devices = asked.weight_devices.iter().map(|device| {
            let weight = u16::try_from(device.rate)
                .ok()
                .filter(|_| WEIGHTS.contains(&device.rate));
            let weight = weight.ok_or_else(|| {
                Error::invalid(format!(
                    "Range of blkio weight_device is from 10 to 1000: {}",
                    device.path
                ))
            })?;
            let (major, minor) = number(numbers, &device.path)?;
            let one = LinuxWeightDeviceBuilder::default()
                .major(major)
                .minor(minor)
                .weight(weight);
            Ok(one.build().expect(PRESET))
        });
        limits.set_weight_device(Some(devices.collect::<Result<_>>()?));
    }
    let throttle = |means: &Means, asked: &[DeviceRate]| -> Result<Option<Vec<LinuxThrottleDevice>>> {
        if asked.is_empty() {
            return Ok(None);
        }
        means.check(facts)?;
        let devices = asked.iter().map(|device| {
            let (major, minor) = number(numbers, &device.path)?;
            let one = LinuxThrottleDeviceBuilder::default().major(major).minor(minor);
            Ok(one.rate(device.rate).build().expect(PRESET))
        });
        devices.collect::<Result<_>>().map(Some)
    };
    limits.set_throttle_read_bps_device(throttle(&READ_BPS, &asked.read_bps)?);
    limits.set_throttle_write_bps_device(throttle(&WRITE_BPS, &asked.write_bps)?);
    limits.set_throttle_read_iops_device(throttle(&READ_IOPS, &asked.read_iops)?);
    limits.set_throttle_write_iops_device(throttle(&WRITE_IOPS, &asked.write_iops)?);
    Ok(Some(limits))
}

/// Paths of the devices that are spoken of.
pub fn paths(asked: &BlockIo) -> impl Iterator<Item = &str> {
    let lists = [
        &asked.weight_devices,
        &asked.read_bps,
        &asked.write_bps,
        &asked.read_iops,
        &asked.write_iops,
    ];
    lists.into_iter().flatten().map(|device| device.path.as_str())
}

fn number(numbers: &BTreeMap<String, (i64, i64)>, path: &str) -> Result<(i64, i64)> {
    let found = numbers.get(path).copied();
    found.ok_or_else(|| Error::internal(format!("nobody looked up the device {path}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::facts;

    fn rate(rate: u64) -> Vec<DeviceRate> {
        vec![DeviceRate {
            path: "/dev/sda".into(),
            rate,
        }]
    }

    #[test]
    fn what_the_kernel_has_is_asked_of_the_runtime() {
        let mut facts = facts();
        facts.cgroup = Cgroup::Hybrid;
        facts.block_files = ["blkio.bfq.weight", "blkio.throttle.read_bps_device"]
            .map(str::to_owned)
            .into();
        let numbers = BTreeMap::from([("/dev/sda".to_owned(), (8, 0))]);
        let asked = BlockIo {
            weight: 300,
            read_bps: rate(1 << 20),
            ..BlockIo::default()
        };
        let limits = limits(&asked, &facts, &numbers).unwrap().unwrap();
        assert_eq!(limits.weight(), Some(300));
        let device = &limits.throttle_read_bps_device().as_ref().unwrap()[0];
        assert_eq!((device.major(), device.minor(), device.rate()), (8, 0, 1 << 20));
        assert!(super::limits(&BlockIo::default(), &facts, &numbers).unwrap().is_none());
    }

    #[test]
    fn what_it_lacks_is_named_with_what_it_has() {
        let mut facts = facts();
        facts.cgroup = Cgroup::V2;
        facts.block_files = ["io.max".to_owned()].into();
        let numbers = BTreeMap::from([("/dev/sda".to_owned(), (8, 0))]);
        let text = |asked: BlockIo| limits(&asked, &facts, &numbers).unwrap_err().to_string();
        let weight = text(BlockIo {
            weight: 300,
            ..BlockIo::default()
        });
        assert!(
            weight.contains("io.bfq.weight or io.weight") && weight.ends_with("it has io.max"),
            "{weight}"
        );
        let range = text(BlockIo {
            weight: 9,
            ..BlockIo::default()
        });
        assert_eq!(range, "Range of blkio weight is from 10 to 1000");
        let device = BlockIo {
            weight_devices: rate(50),
            ..BlockIo::default()
        };
        assert!(text(device).contains("weight_device"));
        let throttled = BlockIo {
            write_iops: rate(50),
            ..BlockIo::default()
        };
        assert!(limits(&throttled, &facts, &numbers).is_ok());
    }
}
