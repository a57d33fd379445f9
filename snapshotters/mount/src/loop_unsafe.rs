//! The kernel's calls about loop devices (`linux/loop.h`), and nothing else.

use rustix::io::Errno;
use std::fs::File;
use std::os::fd::AsRawFd;

const LOOP_SET_STATUS64: libc::c_ulong = 0x4c04;
const LOOP_GET_STATUS64: libc::c_ulong = 0x4c05;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;

pub const READ_ONLY: u32 = 1;
pub const AUTOCLEAR: u32 = 4;
pub const DIRECT_IO: u32 = 16;

/// Bytes of a device's name, its closing zero among them.
pub const NAME: usize = 64;

/// `struct loop_info64`
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Status {
    device: u64,
    inode: u64,
    real_device: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encryption: u32,
    key_size: u32,
    pub flags: u32,
    pub name: [u8; NAME],
    cipher: [u8; 64],
    key: [u8; 32],
    init: [u64; 2],
}

impl Status {
    pub fn new(name: &str, flags: u32) -> Self {
        let mut status = Self {
            device: 0,
            inode: 0,
            real_device: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encryption: 0,
            key_size: 0,
            flags,
            name: [0; NAME],
            cipher: [0; 64],
            key: [0; 32],
            init: [0; 2],
        };
        let length = name.len().min(NAME - 1);
        status.name[..length].copy_from_slice(&name.as_bytes()[..length]);
        status
    }
}

/// `struct loop_config`
#[repr(C)]
struct Config {
    file: u32,
    block_size: u32,
    status: Status,
    reserved: [u64; 8],
}

fn done(answer: libc::c_int) -> Result<libc::c_int, Errno> {
    match answer {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        answer => Ok(answer),
    }
}

/// The number of a device that is free, and may be taken by another the next moment. `control` is `/dev/loop-control`.
pub fn free(control: &File) -> Result<i32, Errno> {
    // SAFETY: the call takes no argument, and the descriptor is open as long as the file is borrowed.
    done(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })
}

/// Puts a file behind a free device, in one step (Linux 5.8).
pub fn configure(device: &File, image: &File, status: Status) -> Result<(), Errno> {
    let config = Config {
        file: image.as_raw_fd().cast_unsigned(),
        block_size: 0,
        status,
        reserved: [0; 8],
    };
    // SAFETY: the kernel reads one `loop_config`, which lives on this stack and is laid out as in C.
    done(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) }).map(drop)
}

/// What is behind a device; ENXIO if nothing is.
pub fn status(device: &File) -> Result<Status, Errno> {
    let mut status = Status::new("", 0);
    // SAFETY: the kernel writes one `loop_info64`, of which any bytes are a value.
    done(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut status) })?;
    Ok(status)
}

pub fn set_status(device: &File, status: &Status) -> Result<(), Errno> {
    // SAFETY: the kernel reads one `loop_info64`, which is borrowed meanwhile.
    done(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_STATUS64, std::ptr::from_ref(status)) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laid_out_as_the_kernel_has_them() {
        assert_eq!((size_of::<Status>(), size_of::<Config>()), (232, 304));
        assert_eq!(std::mem::offset_of!(Status, flags), 52);
    }
}
