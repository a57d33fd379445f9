//! Shares and bounds of block devices.

use gantry_proto::gantry::v1 as pb;

use crate::cli::verb::Parsed;
use crate::error::{Error, Result};
use crate::format::units;

/// What the flags ask for; `None` = nothing.
pub(crate) fn asked(parsed: &Parsed) -> Result<Option<pb::BlockIo>> {
    let list = |flag: &str, amount: fn(&str) -> Option<u64>| -> Result<Vec<pb::DeviceRate>> {
        let devices = parsed.all(flag).iter().map(|text| device(text, amount));
        devices.collect::<Result<_, _>>().map_err(Error::refused)
    };
    let weight = parsed
        .int("blkio-weight")
        .map_or(Ok(0), weight)
        .map_err(Error::refused)?;
    let block = pb::BlockIo {
        weight,
        weight_devices: list("blkio-weight-device", plain)?,
        read_bps: list("device-read-bps", bytes)?,
        write_bps: list("device-write-bps", bytes)?,
        read_iops: list("device-read-iops", plain)?,
        write_iops: list("device-write-iops", plain)?,
    };
    Ok((block != pb::BlockIo::default()).then_some(block))
}

pub(crate) fn weight(value: i64) -> Result<u32, String> {
    let fits = u32::try_from(value)
        .ok()
        .filter(|weight| *weight == 0 || (10..=1000).contains(weight));
    fits.ok_or_else(|| "Range of blkio weight is from 10 to 1000".to_owned())
}

/// "/dev/sda:1mb", whatever the flag makes of the second part.
pub(crate) fn well_formed(text: &str) -> Result<String, String> {
    device(text, bytes).map(|_| text.to_owned())
}

fn device(text: &str, amount: fn(&str) -> Option<u64>) -> Result<pb::DeviceRate, String> {
    let (path, rate) = text.split_once(':').ok_or_else(|| format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    let rate = amount(rate).ok_or_else(|| {
        format!("invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb")
    })?;
    Ok(pb::DeviceRate {
        path: path.to_owned(),
        rate,
    })
}

fn plain(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn bytes(text: &str) -> Option<u64> {
    units::ram_in_bytes(text)
        .ok()
        .and_then(|bytes| u64::try_from(bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_and_its_rate() {
        let read = |text| device(text, bytes).map(|it| (it.path, it.rate));
        assert_eq!(read("/dev/sda:1mb"), Ok(("/dev/sda".to_owned(), 1 << 20)));
        assert_eq!(device("/dev/sda:300", plain).map(|it| it.rate), Ok(300));
        assert_eq!(read("x").unwrap_err(), "bad format: x");
        assert_eq!(read("sda:1").unwrap_err(), "bad format for device path: sda:1");
        assert!(read("/dev/sda:-1").unwrap_err().starts_with("invalid rate for device"));
        assert!(device("/dev/sda:1mb", plain).is_err());
        assert!(weight(9).is_err() && weight(1001).is_err());
        assert_eq!((weight(0), weight(500)), (Ok(0), Ok(500)));
    }
}
