//! The real shim, driven over its sockets, with real containers of busybox. Needs root, cgroups, and Debian's busybox-static (and
//! runc for the runtime by name).

mod bed;
mod life;
mod runtimes;
mod streams;
