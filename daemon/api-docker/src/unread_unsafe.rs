//! The kernel's count of what the peer of a unix socket has not read yet (unix(7), `SIOCOUTQ`), and nothing else.

use nix::libc::{TIOCOUTQ, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

nix::ioctl_read_bad!(siocoutq, TIOCOUTQ, c_int);

/// 0 once the peer has read all of it; what else it counts is no number of bytes.
pub fn unread(socket: BorrowedFd<'_>) -> io::Result<c_int> {
    let mut count = 0;
    // SAFETY: the descriptor is open while it is borrowed, and the kernel writes one int through the pointer.
    unsafe { siocoutq(socket.as_raw_fd(), &raw mut count) }?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_read_counts_no_more() {
        let (mut near, mut far) = UnixStream::pair().expect("a pair");
        assert_eq!(unread(near.as_fd()).expect("a count"), 0);
        near.write_all(b"head").expect("room");
        assert!(unread(near.as_fd()).expect("a count") > 0);
        far.read_exact(&mut [0; 4]).expect("what was written");
        assert_eq!(unread(near.as_fd()).expect("a count"), 0);
    }
}
