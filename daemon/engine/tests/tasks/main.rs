//! Tasks of clients, with real containers under Debian's `containerd-shim-runc-v2` and under our shim. Needs root, cgroups, Debian's
//! containerd, runc and busybox-static, and our shim built beside this test.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod bed;
mod death;
mod life;
mod restart;
