//! Files as block devices.

use crate::loop_unsafe::{self as kernel, Status};
use crate::{Error, Result};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONTROL: &str = "/dev/loop-control";
/// Others take devices, too: how often another one is tried, and the pause before.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(5);

/// How a file becomes a device.
#[derive(Debug, Clone, Default)]
pub struct LoopOptions {
    pub read_only: bool,
    /// Past the page cache.
    pub direct_io: bool,
    /// By which it is known again, at most 63 bytes; empty = the file's path.
    pub name: String,
}

/// A device with a file behind it. Dropped, the device goes as soon as nobody uses it, unless it is [kept](Loop::keep).
#[derive(Debug)]
pub struct Loop {
    device: File,
    path: PathBuf,
}

impl Loop {
    /// Puts the file behind a free device.
    pub fn attach(image: &Path, options: &LoopOptions) -> Result<Self> {
        let failed = |step: &'static str| {
            move |source: io::Error| Error::Loop {
                image: image.to_path_buf(),
                step,
                source,
            }
        };
        let open = |path: &Path| OpenOptions::new().read(true).write(!options.read_only).open(path);
        let file = open(image).map_err(failed("open it"))?;
        if !file.metadata().map_err(failed("look at it"))?.is_file() {
            return Err(failed("look at it")(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a file",
            )));
        }
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open(CONTROL)
            .map_err(failed("open /dev/loop-control"))?;
        let name = match options.name.as_str() {
            "" => image.to_string_lossy().into_owned(),
            name => name.to_owned(),
        };
        let mut flags = kernel::AUTOCLEAR;
        flags |= if options.read_only { kernel::READ_ONLY } else { 0 };
        flags |= if options.direct_io { kernel::DIRECT_IO } else { 0 };
        for _ in 0..TRIES {
            let number = kernel::free(&control).map_err(|errno| failed("find a free device")(errno.into()))?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = open(&path).map_err(failed("open a device"))?;
            match kernel::configure(&device, &file, Status::new(&name, flags)) {
                Ok(()) => return Ok(Self { device, path }),
                Err(Errno::BUSY) => std::thread::sleep(PAUSE),
                Err(errno) => return Err(failed("put it behind a device")(errno.into())),
            }
        }
        Err(failed("find a free device")(Errno::BUSY.into()))
    }

    /// `/dev/loop7`
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the device stay until it is [released](release), whether or not somebody uses it.
    pub fn keep(&self) -> Result<()> {
        let failed = |errno: Errno| device_failed(&self.path)(errno.into());
        let mut status = kernel::status(&self.device).map_err(failed)?;
        status.flags &= !kernel::AUTOCLEAR;
        kernel::set_status(&self.device, &status).map_err(failed)
    }
}

/// Lets a device that was kept go as soon as nobody uses it, if it bears this name; whether it did.
pub fn release(path: &Path, name: &str) -> Result<bool> {
    let device = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.map_err(device_failed(path))?,
    };
    let mut status = match kernel::status(&device) {
        Err(Errno::NXIO | Errno::NOTTY) => return Ok(false),
        known => known.map_err(|errno| device_failed(path)(errno.into()))?,
    };
    if status.name != Status::new(name, 0).name {
        return Ok(false);
    }
    status.flags |= kernel::AUTOCLEAR;
    kernel::set_status(&device, &status).map_err(|errno| device_failed(path)(errno.into()))?;
    Ok(true)
}

/// Whether the device bears this name.
pub fn bears(path: &Path, name: &str) -> bool {
    let status = File::open(path)
        .map_err(drop)
        .and_then(|device| kernel::status(&device).map_err(drop));
    status.is_ok_and(|status| status.name == Status::new(name, 0).name)
}

fn device_failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Device {
        path: path.to_path_buf(),
        source,
    }
}
