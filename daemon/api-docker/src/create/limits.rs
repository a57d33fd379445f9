//! Block devices, hidden paths and the terminal's size, of `HostConfig`.

use super::{text, texts};
use crate::answer::Failure;
use crate::model::asked::{Host, ThrottleDevice};
use gantry_core::container::{BlockIo, DeviceRate};

pub fn block_io(asked: &Host) -> Result<BlockIo, Failure> {
    let device = |path: &String, rate: u64| {
        Ok::<_, Failure>(DeviceRate {
            path: text("Path", path.clone())?,
            rate,
        })
    };
    let rates = |list: &[ThrottleDevice]| {
        list.iter()
            .map(|it| device(&it.path, it.rate))
            .collect::<Result<_, _>>()
    };
    let weights = asked.blkio_weight_device.iter();
    Ok(BlockIo {
        weight: asked.blkio_weight,
        weight_devices: weights
            .map(|it| device(&it.path, it.weight.into()))
            .collect::<Result<_, _>>()?,
        read_bps: rates(&asked.blkio_read_bps)?,
        write_bps: rates(&asked.blkio_write_bps)?,
        read_iops: rates(&asked.blkio_read_iops)?,
        write_iops: rates(&asked.blkio_write_iops)?,
    })
}

pub fn hidden(field: &str, paths: Option<&Vec<String>>) -> Result<Option<Vec<String>>, Failure> {
    paths.map(|paths| texts(field, paths.clone())).transpose()
}
