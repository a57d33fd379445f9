//! The real shim, driven over its sockets, with real containers of busybox. Needs root, cgroups, and Debian's busybox-static (and
//! runc for the runtime by name, containerd with ctr for the foreign caller).

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_imports,
    reason = "a test may stop where it stands; the bed is everywhere"
)]

mod bed;
mod containerd;
mod foreign;
mod life;
mod news;
mod runtimes;
mod streams;
